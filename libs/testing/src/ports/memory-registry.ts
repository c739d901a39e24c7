import { refusalError } from '@kvcapsule/domain/ledger';
import {
  type Announcement,
  type Following,
  type FollowingFigures,
  type Registrant,
  type RegistryListener,
  type RegistryPort,
  Roster,
  type Enlisted,
  type RouterRegistrant,
  type RouterRegistryPort,
  type WorkerDescriptor,
  type WorkerLoad,
} from '@kvcapsule/domain/registry';

import { type MemoryStore } from './memory-store.js';

/** The registry's rules in memory. Who follows hears of everything at once. */
export class MemoryRegistry implements RegistryPort, RouterRegistryPort {
  constructor(private readonly store: MemoryStore) {}

  async register(descriptor: WorkerDescriptor, load: WorkerLoad, by: Registrant): Promise<{ epoch: number }> {
    return this.#telling(() => {
      const entry = this.store.entry(descriptor.workerId);
      const before = entry.ledger.account(this.store.nowMs)?.epoch;
      const epoch = entry.ledger.register(by, descriptor.capacityPages, this.store.nowMs);
      if (typeof epoch === 'string') throw refusalError(epoch, descriptor.workerId);
      if (epoch !== before) Object.assign(entry, { descriptor, load });
      return { epoch, routers: this.store.routers.living(this.store.nowMs) };
    });
  }

  heartbeat({ workerId }: WorkerDescriptor, epoch: number, load: WorkerLoad): Promise<void> {
    return this.#telling(() => {
      const entry = this.store.entry(workerId);
      const refusal = entry.ledger.heartbeat(epoch, this.store.nowMs);
      if (refusal) throw refusalError(refusal, workerId);
      const { routers, nowMs } = this.store;
      const absent = entry.ledger
        .reservers()
        .filter((router) => routers.isAbsent(router.routerId, router.epoch, nowMs));
      entry.ledger.fence(epoch, absent, nowMs);
      entry.load = load;
    });
  }

  freed(workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    return this.#telling(() => {
      const entry = this.store.entry(workerId);
      if (entry.ledger.account(this.store.nowMs)?.epoch === epoch) entry.load = load;
    });
  }

  deregister(workerId: string, epoch: number): Promise<void> {
    return this.#telling(() => {
      this.store.entry(workerId).ledger.deregister(epoch, this.store.nowMs);
    });
  }

  registerRouter(routerId: string, by: RouterRegistrant): Promise<Enlisted> {
    return this.store.answer((): Enlisted => {
      const epoch = this.store.routers.register(routerId, by, this.store.nowMs);
      if (typeof epoch === 'string') throw refusalError(epoch, 'the registry');
      const { routers, nowMs } = this.store;
      return { epoch, routers: routers.living(nowMs), addresses: routers.addresses(nowMs) };
    });
  }

  deregisterRouter(routerId: string, epoch: number): Promise<void> {
    return this.store.answer(() => {
      this.store.routers.deregister(routerId, epoch);
    });
  }

  async follow(listener: RegistryListener): Promise<Following> {
    const follower = new MemoryFollower(this.store, listener);
    await follower.look();
    return follower;
  }

  async #telling<T>(call: () => T): Promise<T> {
    try {
      return await this.store.answer(call);
    } finally {
      for (const follower of this.store.followers) follower();
    }
  }
}

class MemoryFollower implements Following {
  readonly #roster = new Roster();
  readonly figures: FollowingFigures = { entries: 0, skipped: 0, gaps: 0, ageMs: 0 };
  readonly #read: () => void;

  constructor(
    private readonly store: MemoryStore,
    private readonly listener: RegistryListener,
  ) {
    this.#read = () => void this.look();
    store.followers.add(this.#read);
  }

  look(): Promise<void> {
    return this.store
      .answer(() => this.#readAll())
      .then(
        () => {
          this.listener.heard(this.#roster.takeNews());
        },
        (error: unknown) => {
          this.listener.missed(error);
        },
      );
  }

  silentMs(workerId: string): number | undefined {
    return this.#roster.silentMs(workerId, 0);
  }

  /** Nothing to be done: everything is heard at once. */
  want(): void {
    this.#roster.free();
  }

  stop(): Promise<void> {
    this.store.followers.delete(this.#read);
    return Promise.resolve();
  }

  #readAll(): void {
    const living = new Set<string>();
    for (const workerId of this.store.workerIds) {
      const said = this.#saidBy(workerId);
      if (!said) continue;
      living.add(workerId);
      if (!this.#roster.hear(said, 0)) this.#roster.meet(said, this.store.entry(workerId).descriptor, 0);
    }
    this.#roster.keep(living);
  }

  #saidBy(workerId: string): Announcement | undefined {
    const { ledger, descriptor, load } = this.store.entry(workerId);
    const account = ledger.account(this.store.nowMs);
    if (!account || !descriptor || !load) return undefined;
    const { epoch, capacityPages, reservedPages, committedPages } = account;
    const freePages = Math.min(load.freePages, capacityPages - reservedPages - committedPages);
    return { workerId, epoch, load: { ...load, freePages } };
  }
}
