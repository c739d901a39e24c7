import type { WorkerDescriptor, WorkerLoad } from '@kvcapsule/domain/registry';

/** A small worker with the codecs raw and capsule. */
export function workerDescriptor(
  workerId: string,
  changes: Partial<WorkerDescriptor> = {},
): WorkerDescriptor {
  return {
    workerId,
    address: '127.0.0.1:4000',
    modelId: 'model',
    modelRevision: 'revision',
    contextTokens: 1024,
    blockTokens: 16,
    pagesPerBlock: 8,
    pageBytes: 4096,
    capacityPages: 100,
    codec: 'capsule',
    profileId: 'profile',
    codecs: ['raw', 'capsule'],
    formats: [
      { codec: 'capsule', profileId: 'p', tokens: 272, markerRows: [], pages: 12, headerBytes: 0, bytesPerToken: 0 },
    ],
    ...changes,
  };
}

export function workerLoad(changes: Partial<WorkerLoad> = {}): WorkerLoad {
  return { state: 'ready', running: 1, waiting: 2, freePages: 90, ...changes };
}
