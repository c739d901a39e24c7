import { KvcError } from '@kvcapsule/contracts/errors';
import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import { type LeaseKey, refusalError } from '@kvcapsule/domain/ledger';
import {
  type Following,
  type RegistryListener,
  type RegistryPort,
  Roster,
  type WorkerRecord,
} from '@kvcapsule/domain/registry';
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

  storeFault: string | undefined;
  storeMemory: { usedBytes: number; limitBytes: number } | undefined;
  routers = 1;
  addresses: string[] = [];
  /** How often somebody has asked what the registry holds. */
  looks = 0;
  /** How often somebody has said that requests wait for pages. */
  wants = 0;

  readonly registry = {
    follow: (listener: RegistryListener) => this.#follow(listener),
  } as unknown as RegistryPort;
  readonly ledger = new ScriptedLedger(this.#store, (key) => this.#refusal(key));

  get leases(): ReadonlyMap<string, MemoryLease> {
    return this.#store.leases;
  }

  listensAt(address: string): Promise<void> {
    this.addresses.push(address);
    return Promise.resolve();
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

  /** Reads the list of workers as it is, every second and when it is asked to. */
  #follow(listener: RegistryListener): Promise<Following> {
    const roster = new Roster();
    const read = (): void => {
      if (this.#store.away) {
        listener.missed(new KvcError('LEDGER_UNAVAILABLE', 'Redis does not answer in time'));
        return;
      }
      for (const { epoch, load, ...descriptor } of this.workers)
        roster.meet({ workerId: descriptor.workerId, epoch, load }, descriptor, 0);
      roster.keep(new Set(this.workers.map(({ workerId }) => workerId)));
      listener.heard(roster.takeNews());
    };
    read();
    const timer = setInterval(read, 1_000).unref();
    return Promise.resolve({
      figures: { entries: 0, skipped: 0, gaps: 0, ageMs: 0 },
      silentMs: (workerId) => roster.silentMs(workerId, 0),
      look: () => {
        this.looks += 1;
        read();
        return Promise.resolve();
      },
      want: () => void (this.wants += 1),
      stop: () => Promise.resolve(clearInterval(timer)),
    });
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
    maxRunning: 256,
    codec: 'capsule',
    profileId: '',
    codecs: ['raw', 'q8', 'capsule'],
    formats: [],
    load: { state: 'ready', running: 0, waiting: 0, freePages: 160 },
    ...changes,
  };
}
