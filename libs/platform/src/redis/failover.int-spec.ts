import { setTimeout as sleep } from 'node:timers/promises';

import type { WorkerDescriptor } from '@kvcapsule/domain/registry';
import { workerDescriptor, workerLoad } from '@kvcapsule/testing/ports';
import { type FailOver, startCluster, startSentinels, type Store } from '@kvcapsule/testing/redis';
import { afterEach, describe, expect, it } from 'vitest';

import {
  createRedisClient,
  type RedisClient,
  RedisLedger,
  RedisRegistry,
  type RedisSettings,
} from './index.js';
import { REGISTRY_KEYS, workerKeys } from './keys.js';

const isFull = process.env['KVCAPSULE_TEST_FULL'] === '1';
const CAPACITY = 100;
const LOAD = workerLoad();
/** Ends a hang and measures nothing: an election takes seconds, on a busy machine many. */
const RETURN_MS = 90_000;

const ended: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end();
});

/** As a part that is started again until its store answers: the machine may be busy. */
async function open(settings: RedisSettings): Promise<RedisClient> {
  const giveUpAt = performance.now() + RETURN_MS;
  const again = async (error: unknown): Promise<RedisClient> => {
    if (performance.now() > giveUpAt) throw error;
    return createRedisClient(settings).catch(again);
  };
  const client = await createRedisClient(settings).catch(again);
  ended.push(() => {
    client.disconnect();
  });
  return client;
}

/**
 * A worker as the ledger knows one: it heartbeats, takes what its own pool has room for whatever the store has
 * promised, and puts its leases back when the store has lost them.
 */
class Worker {
  readonly held = new Map<string, number>();
  /** What could not be given back, as the store was away: given back with the next heartbeat that is answered. */
  readonly unreleased = new Set<string>();
  readonly #registry: RedisRegistry;
  readonly #ledger: RedisLedger;
  readonly #descriptor: WorkerDescriptor;
  readonly #by = { instanceId: 'one', heldEpoch: 0 };
  epoch = 0;
  /** Requests that the store had let in and the pool had no room for. */
  refused = 0;
  #running = true;
  #beating: Promise<void> | undefined;

  constructor(
    readonly id: string,
    client: RedisClient,
  ) {
    this.#registry = new RedisRegistry(client);
    this.#ledger = new RedisLedger(client);
    this.#descriptor = workerDescriptor(id, { capacityPages: CAPACITY });
  }

  get pages(): number {
    return [...this.held.values()].reduce((sum, pages) => sum + pages, 0);
  }

  async start(): Promise<void> {
    await this.#register();
    this.#beating = this.#beat();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#beating;
  }

  /** False where its pool has no room. */
  accept(leaseId: string, pages: number): boolean {
    if (this.pages + pages > CAPACITY) {
      this.refused += 1;
      return false;
    }
    this.held.set(leaseId, pages);
    return true;
  }

  #key(leaseId: string) {
    return { workerId: this.id, epoch: this.epoch, leaseId };
  }

  async #register(): Promise<void> {
    const { epoch } = await this.#registry.register(this.#descriptor, LOAD, {
      ...this.#by,
      heldEpoch: this.epoch,
    });
    this.epoch = epoch;
  }

  async #beat(): Promise<void> {
    while (this.#running) {
      await sleep(100);
      try {
        await this.#registry.heartbeat(this.#descriptor, this.epoch, LOAD);
        for (const [leaseId, pages] of this.held)
          await this.#ledger.commit(this.#key(leaseId), pages).catch(() => 0);
        for (const leaseId of this.unreleased) {
          await this.#ledger.release(this.#key(leaseId));
          this.unreleased.delete(leaseId);
        }
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === 'NO_WORKER' || code === 'STALE_EPOCH') await this.#register().catch(() => undefined);
      }
    }
  }
}

/** Requests one after the other; what became of them, until it is told to stop. */
class Router {
  readonly outcomes = { done: 0, full: 0, away: 0, other: [] as string[] };
  #running = true;

  constructor(
    private readonly name: string,
    private readonly worker: Worker,
    private readonly ledger: RedisLedger,
  ) {}

  async run(): Promise<void> {
    for (let i = 0; this.#running; i += 1) {
      await this.#request(`${this.name}-${i}`, 5 + ((i * 7) % 20)).catch((error: unknown) => {
        this.#count((error as { code?: string }).code ?? String(error));
      });
      await sleep(5);
    }
  }

  stop(): void {
    this.#running = false;
  }

  async #request(leaseId: string, pages: number): Promise<void> {
    const { worker, ledger } = this;
    const key = () => ({ workerId: worker.id, epoch: worker.epoch, leaseId });
    await ledger.reserve(key(), pages);
    if (worker.accept(leaseId, pages)) {
      await ledger.commit(key(), pages).catch(() => undefined);
      await sleep(20);
      worker.held.delete(leaseId);
      this.outcomes.done += 1;
    }
    await ledger.release(key()).catch((error: unknown) => {
      worker.unreleased.add(leaseId);
      throw error;
    });
  }

  #count(code: string): void {
    if (code === 'NO_CAPACITY') this.outcomes.full += 1;
    else if (code === 'LEDGER_UNAVAILABLE') this.outcomes.away += 1;
    // The worker is gone from a store that has lost it, or has a newer epoch there; a release came late.
    else if (!['NO_WORKER', 'STALE_EPOCH', 'ABORTED'].includes(code)) this.outcomes.other.push(code);
  }
}

/** A router's tail of the registry, and whom it has at this moment. */
async function follow(settings: RedisSettings) {
  const present = new Set<string>();
  const following = await new RedisRegistry(await open(settings)).follow({
    heard: ({ told, gone }) => {
      for (const { workerId } of told) present.add(workerId);
      for (const workerId of gone) present.delete(workerId);
    },
    missed: () => undefined,
  });
  ended.push(() => following.stop());
  return { present, following };
}

/** Three routers at one worker while `fault` happens; checks that it all goes on, and that all pages come back. */
async function underLoad(settings: RedisSettings, fault: () => Promise<void>): Promise<void> {
  const worker = new Worker('w1', await open(settings));
  await worker.start();
  ended.push(() => worker.stop());
  const routers = await Promise.all(
    ['a', 'b', 'c'].map(async (name) => new Router(name, worker, new RedisLedger(await open(settings)))),
  );
  const runs = routers.map((router) => router.run());
  const heard = await follow(settings);
  const done = () => routers.reduce((sum, { outcomes }) => sum + outcomes.done, 0);
  await expect.poll(done, { timeout: RETURN_MS }).toBeGreaterThan(20);
  await fault();
  const before = done();
  const { entries } = heard.following.figures;
  await expect
    .poll(() => heard.following.figures.entries, { timeout: RETURN_MS, interval: 100 })
    .toBeGreaterThan(entries + 5);
  await expect.poll(() => heard.present.has(worker.id), { timeout: RETURN_MS, interval: 100 }).toBe(true);
  await expect.poll(done, { timeout: RETURN_MS, interval: 100 }).toBeGreaterThan(before + 40);
  for (const router of routers) router.stop();
  await Promise.all(runs);
  for (const { outcomes } of routers) expect(outcomes.other).toEqual([]);
  const ledger = new RedisLedger(await open(settings));
  const account = () => ledger.account('w1').catch(() => undefined);
  const empty = { capacityPages: CAPACITY, reservedPages: 0, committedPages: 0, leases: 0 };
  // what met the election is given back with a heartbeat, or runs out
  await expect.poll(account, { timeout: RETURN_MS, interval: 200 }).toMatchObject(empty);
}

async function started<S extends Store>(start: Promise<S>): Promise<S> {
  const store = await start;
  ended.push(() => store.stop());
  return store;
}

/** An election that somebody asks for is over in a moment; one after a death takes seconds. */
const HOW: readonly FailOver[] = isFull ? ['asked to step down', 'killed'] : ['asked to step down'];

describe('behind Sentinels', () => {
  it.each(HOW)(
    'the ledger goes on when its master is %s',
    async (how) => {
      const store = await started(startSentinels());
      await underLoad(store.settings, () => store.failOver(how));
    },
    300_000,
  );
});

describe('in a Cluster', () => {
  const slots = [
    ['its slot', workerKeys('w1').info],
    ['the registry’s slot', REGISTRY_KEYS.loads],
  ] as const;
  it.each(HOW.flatMap((how) => slots.map(([slot, key]) => ({ how, slot, key }))))(
    'the ledger goes on when the master of $slot is $how',
    async ({ how, key }) => {
      const store = await started(startCluster({ replicas: true }));
      await underLoad(store.settings, () => store.failOver(key, how));
    },
    300_000,
  );
});
