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
    ...{ processorRevision: 'p', arithmetic: 'cpu-avx2-1', precision: 'f16/f16', imageProcessor: 'i' },
    contextTokens: 1024,
    blockTokens: 16,
    pagesPerBlock: 8,
    pageBytes: 4096,
    capacityPages: 100,
    maxRunning: 64,
    codec: 'capsule',
    profileId: 'profile',
    codecs: ['raw', 'capsule'],
    formats: [
      {
        codec: 'capsule',
        profileId: 'p',
        tokens: 272,
        markerRows: [],
        pages: 12,
        headerBytes: 0,
        bytesPerToken: 0,
      },
    ],
    ...changes,
  };
}

export function workerLoad(changes: Partial<WorkerLoad> = {}): WorkerLoad {
  return { state: 'ready', running: 1, waiting: 2, freePages: 90, ...changes };
}
