import { KvcError } from '@kvcapsule/contracts/errors';
import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import { type LeaseKey, refusalError } from '@kvcapsule/domain/ledger';
import type { RegistryPort, WorkerRecord } from '@kvcapsule/domain/registry';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { MemoryLedger, type MemoryLease, MemoryStore } from '@kvcapsule/testing/ports';
import type { Ports } from '../ports.js';

/** The ledger in memory, whose reservations a test may have refused. */
class ScriptedLedger extends MemoryLedger {
  constructor(
    store: MemoryStore,
    private readonly refusal: (key: LeaseKey) => KvcError | undefined,
  ) {
    super(store);
  }

  override reserve(key: LeaseKey, pages: number, ttlMs?: number): Promise<void> {
    const refusal = this.refusal(key);
    return refusal ? Promise.reject(refusal) : super.reserve(key, pages, ttlMs);
  }
}

/** A list of workers that tests write, and a ledger in which these are registered. */
export class MemoryPorts implements Ports {
  workers: WorkerRecord[] = [];
  /** Rejections the next reservations meet, in order. */
  readonly refusals: KvcError[] = [];
  readonly #store = new MemoryStore();
  #always: KvcError | undefined;

  readonly registry = { list: () => this.#list() } as unknown as RegistryPort;
  readonly ledger = new ScriptedLedger(this.#store, (key) => this.#refusal(key));

  get leases(): ReadonlyMap<string, MemoryLease> {
    return this.#store.leases;
  }

  set isAway(away: boolean) {
    this.#store.away = away;
  }

  /** What is written in the ledger is carried out, but the answers do not come back. */
  set losesAnswers(loses: boolean) {
    this.#store.losesAnswers = loses;
  }

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

  #list(): Promise<readonly WorkerRecord[]> {
    if (!this.#store.away) return Promise.resolve(this.workers);
    return Promise.reject(new KvcError('LEDGER_UNAVAILABLE', 'Redis does not answer.'));
  }

  #refusal({ workerId }: LeaseKey): KvcError | undefined {
    if (this.#store.away) return undefined;
    const refusal = this.refusals.shift() ?? this.#always;
    if (refusal) return refusal;
    const worker = this.workers.find((record) => record.workerId === workerId);
    if (!worker) return refusalError('NO_WORKER', workerId);
    const { epoch, capacityPages } = worker;
    const by = { instanceId: `epoch ${epoch}`, heldEpoch: 0 };
    this.#store.entry(workerId).ledger.register(by, capacityPages, epoch);
    return undefined;
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
    ...{ processorRevision: 'p', arithmetic: 'cpu-avx2-1', precision: 'f16/f16', imageProcessor: 'i' },
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
