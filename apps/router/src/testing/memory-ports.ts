import { KvcError } from '@kvcapsule/contracts/errors';
import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import type { LeaseKey, LedgerAccount, LedgerPort } from '@kvcapsule/domain/ledger';
import type { RegistryPort, WorkerRecord } from '@kvcapsule/domain/registry';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import type { Ports } from '../ports.js';

/** A registry and a ledger in memory, as far as a router uses them. */
export class MemoryPorts implements Ports {
  workers: WorkerRecord[] = [];
  isAway = false;
  /** Rejections the next reservations meet, in order. */
  readonly refusals: KvcError[] = [];
  readonly leases = new Map<string, { key: LeaseKey; pages: number }>();
  /** Reservations are written, but their answers do not come back. */
  losesAnswers = false;
  #always: KvcError | undefined;

  readonly registry = {
    list: () => this.#answer(() => this.workers),
  } as unknown as RegistryPort;

  readonly ledger: LedgerPort = {
    reserve: (key, pages) => this.#answer(() => this.#reserve(key, pages)),
    commit: () => Promise.resolve(),
    extend: () => Promise.resolve(),
    release: (key) => this.#answer(() => void this.leases.delete(key.leaseId)),
    sweep: () => Promise.resolve(0),
    account: () => Promise.resolve<LedgerAccount | undefined>(undefined),
  };

  connect(address: string): WorkerServiceClient {
    return createRpcClient(WorkerServiceClient, address);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** What every reservation meets from here on; undefined for none. */
  refuseAlways(refusal: KvcError | undefined): void {
    this.#always = refusal;
  }

  #answer<T>(value: () => T): Promise<T> {
    if (this.isAway) return Promise.reject(new KvcError('LEDGER_UNAVAILABLE', 'Redis does not answer.'));
    return Promise.resolve().then(value);
  }

  #reserve(key: LeaseKey, pages: number): void {
    const refusal = this.refusals.shift() ?? this.#always;
    if (refusal) throw refusal;
    const worker = this.workers.find(({ workerId }) => workerId === key.workerId);
    if (!worker) throw new KvcError('NO_WORKER', 'not registered');
    if (worker.epoch !== key.epoch) throw new KvcError('STALE_EPOCH', 'older epoch');
    const held = [...this.leases.values()].filter((lease) => lease.key.workerId === key.workerId);
    if (held.reduce((sum, lease) => sum + lease.pages, pages) > worker.capacityPages) {
      throw new KvcError('NO_CAPACITY', 'full');
    }
    this.leases.set(key.leaseId, { key, pages });
    if (this.losesAnswers) throw new KvcError('LEDGER_UNAVAILABLE', 'no answer');
  }
}

/** A registered, idle worker. */
export function workerRecord(
  workerId: string,
  address: string,
  changes: Partial<WorkerRecord> = {},
): WorkerRecord {
  return {
    workerId,
    address,
    epoch: 1,
    modelId: 'demo',
    modelRevision: 'r',
    contextTokens: 64,
    blockTokens: 16,
    pagesPerBlock: 8,
    pageBytes: 1_024,
    capacityPages: 160,
    codec: 'capsule',
    profileId: '',
    codecs: ['raw', 'q8', 'capsule'],
    formats: [],
    load: { state: 'ready', running: 0, waiting: 0, freePages: 160 },
    ...changes,
  };
}
