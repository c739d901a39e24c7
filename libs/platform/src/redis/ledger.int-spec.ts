import { setTimeout as sleep } from 'node:timers/promises';

import { KvcError } from '@kvcapsule/contracts';
import {
  type LedgerRefusal,
  RELEASED_TTL_MS,
  refusalError,
  type RouterIdentity,
  WorkerLedger,
} from '@kvcapsule/domain/ledger';
import { HEARTBEAT_TTL_MS } from '@kvcapsule/domain/registry';
import { workerDescriptor, workerLoad, workersOf } from '@kvcapsule/testing/ports';
import { startServer, useRedis } from '@kvcapsule/testing/redis';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { createRedisClient, RedisLedger, RedisRegistry, type RedisClient } from './index.js';
import { REGISTRY_KEYS, workerKeys } from './keys.js';
import { keys6 } from './scripts.js';

const LOAD = workerLoad();
/** Of a reservation that expires before the next command, and of one that never does here. */
const [SHORT_MS, LONG_MS] = [1, 10_000_000];

const workerIds = ['w1', 'w2'] as const;
const epochs = fc.oneof(
  { weight: 10, arbitrary: fc.constant('current') },
  { weight: 1, arbitrary: fc.constantFrom('older', 'newer') },
);
const common = { worker: fc.constantFrom(...workerIds), twice: fc.boolean() };
const leaseIds = fc.constantFrom(...'abcdefgh');
const pages = fc.integer({ min: 0, max: 40 });
/** Epochs that come in any order: some are stale. */
const routers = fc.record({ routerId: fc.constantFrom('a', 'b'), epoch: fc.integer({ min: 1, max: 4 }) });

/** Those that the registry knows; a heartbeat finds all others gone. */
const PRESENT: Readonly<Record<string, number>> = { a: 3, b: 2 };
const isAbsent = ({ routerId, epoch }: RouterIdentity) => PRESENT[routerId] !== epoch;

/** Weights keep a worker alive most of the time, else most verbs would only meet `NO_WORKER`. */
const commandArbitrary = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      ...common,
      verb: fc.constant('register'),
      instance: fc.constantFrom('one', 'two'),
      held: fc.constantFrom('none', 'current', 'older'),
      capacity: fc.integer({ min: 0, max: 100 }),
    }),
  },
  {
    weight: 20,
    arbitrary: fc.record({
      ...common,
      verb: fc.constantFrom('reserve', 'reserve', 'commit', 'extend', 'release', 'release'),
      epoch: epochs,
      id: leaseIds,
      pages,
      short: fc.nat({ max: 3 }).map((one) => one === 0),
      router: fc.option(routers, { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      ...common,
      verb: fc.constant('fence'),
      epoch: epochs,
      gone: fc.array(routers, { minLength: 1, maxLength: 2 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...common,
      verb: fc.constantFrom('heartbeat', 'heartbeat', 'heartbeat', 'deregister'),
      epoch: epochs,
    }),
  },
  { weight: 1, arbitrary: fc.record({ ...common, verb: fc.constant('worker expires') }) },
);

interface Command {
  verb: string;
  worker: string;
  twice: boolean;
  instance?: string;
  held?: 'none' | 'current' | 'older';
  capacity?: number;
  epoch?: 'current' | 'older' | 'newer';
  id?: string;
  pages?: number;
  short?: boolean;
  router?: RouterIdentity | undefined;
  gone?: RouterIdentity[];
}

/** The rules of one worker with a clock of their own, so with other epochs than Redis gives by its clock. */
interface Model {
  readonly ledger: WorkerLedger;
  nowMs: number;
  /** The latest one, of the rules and of Redis. */
  epochs: { rules: number; redis: number };
  /** Of that epoch. */
  capacityPages: number;
  /** Of each process: the same for all its calls. */
  readonly capacities: Map<string, number>;
}

/** Runs commands against Redis and the rules and compares what they answer and what they hold. */
class Runner {
  readonly models = new Map<string, Model>();
  private readonly ledger: RedisLedger;
  private readonly registry: RedisRegistry;

  constructor(private readonly client: RedisClient) {
    this.ledger = new RedisLedger(client);
    this.registry = new RedisRegistry(client);
  }

  async run(command: Command): Promise<void> {
    const model = this.model(command.worker);
    await this.once(command, model);
    if (command.twice) {
      await this.once(command, model);
    }
    await this.compare(command.worker, model);
  }

  private model(worker: string): Model {
    const model = this.models.get(worker) ?? {
      ledger: new WorkerLedger(),
      nowMs: 1_000,
      ...{ epochs: { rules: 0, redis: 0 }, capacityPages: 0 },
      capacities: new Map<string, number>(),
    };
    this.models.set(worker, model);
    return model;
  }

  private async once(command: Command, model: Model): Promise<void> {
    const { worker, id = '', pages: count = 0, short = false } = command;
    const { ledger: rules, nowMs } = model;
    const { rules: epoch, redis } = epochsOf(command.epoch ?? 'current', model);
    const key = { workerId: worker, epoch: redis, leaseId: id };
    switch (command.verb) {
      case 'register':
        return this.register(command, model);
      case 'reserve':
        return this.reserve(key, epoch, count, short, model, command.router);
      case 'fence':
        return this.#fence(worker, { rules: epoch, redis }, command.gone ?? [], model);
      case 'commit':
        return same(this.ledger.commit(key, count), rules.commit(epoch, id, count, nowMs));
      case 'extend':
        return same(this.ledger.extend(key, count), rules.extend(epoch, id, count, nowMs));
      case 'release':
        rules.release(epoch, id, nowMs);
        return same(this.ledger.release(key), undefined);
      case 'heartbeat':
        return same(this.#heartbeat(worker, redis, model), heartbeat(rules, epoch, nowMs));
      case 'deregister':
        rules.deregister(epoch, nowMs);
        return same(this.registry.deregister(worker, redis), undefined);
      default:
        await this.client.del(workerKeys(worker).info);
        model.nowMs += HEARTBEAT_TTL_MS;
    }
  }

  private async register(command: Command, model: Model): Promise<void> {
    const { worker, instance: instanceId = 'one', held = 'none', capacity = 0 } = command;
    const capacityPages = model.capacities.get(instanceId) ?? capacity;
    model.capacities.set(instanceId, capacityPages);
    const holds = held === 'none' ? { rules: 0, redis: 0 } : epochsOf(held, model);
    const before = model.epochs;
    const by = { instanceId, heldEpoch: holds.rules };
    const expected = model.ledger.register(by, capacityPages, model.nowMs);
    if (typeof expected === 'string') {
      const refused = this.#register(worker, instanceId, holds.redis, capacityPages);
      await expect(refused).rejects.toMatchObject({ code: expected });
      return;
    }
    const { epoch } = await this.#register(worker, instanceId, holds.redis, capacityPages);
    model.epochs = { rules: expected, redis: epoch };
    if (epoch > before.redis) model.capacityPages = capacityPages;
    expect(Math.sign(epoch - before.redis)).toBe(Math.sign(expected - before.rules));
  }

  #heartbeat(workerId: string, epoch: number, { capacityPages }: Model): Promise<void> {
    return this.registry.heartbeat(workerDescriptor(workerId, { capacityPages }), epoch, LOAD);
  }

  #register(worker: string, instanceId: string, heldEpoch: number, capacityPages: number) {
    const descriptor = workerDescriptor(worker, { capacityPages });
    return this.registry.register(descriptor, LOAD, { instanceId, heldEpoch });
  }

  private async reserve(
    key: { workerId: string; epoch: number; leaseId: string },
    epoch: number,
    count: number,
    short: boolean,
    model: Model,
    router: RouterIdentity | undefined,
  ): Promise<void> {
    const ttlMs = short ? SHORT_MS : LONG_MS;
    const refusal = model.ledger.reserve(epoch, key.leaseId, count, ttlMs, model.nowMs, router);
    const ledger = router ? new RedisLedger(this.client, { run: (reserve) => reserve(router) }) : this.ledger;
    await same(ledger.reserve(key, count, ttlMs), refusal);
    if (!short) return;
    model.nowMs += SHORT_MS;
    await sleep(3 * SHORT_MS);
  }

  /** As a heartbeat does that finds routers gone. */
  async #fence(
    worker: string,
    { rules, redis }: Model['epochs'],
    gone: readonly RouterIdentity[],
    { ledger, nowMs }: Model,
  ): Promise<void> {
    const refusal = ledger.fence(rules, gone, nowMs);
    const pairs = gone.flatMap(({ routerId, epoch }) => [routerId, epoch]);
    const code = await this.client.kvcFence(...keys6(workerKeys(worker)), redis, RELEASED_TTL_MS, ...pairs);
    expect(code < 0).toBe(refusal !== undefined);
  }

  private async compare(worker: string, model: Model): Promise<void> {
    const [account, held] = await Promise.all([this.ledger.account(worker), this.#held(worker)]);
    const expected = model.ledger.account(model.nowMs);
    const { rules, redis } = model.epochs;
    if (expected) expect(expected.epoch).toBe(rules);
    expect(account).toEqual(expected && { workerId: worker, ...expected, epoch: redis });
    if (account !== undefined) expect(held).toEqual(heldBy(model.ledger));
    if (account !== undefined) {
      expect(account.reservedPages + account.committedPages).toBeLessThanOrEqual(account.capacityPages);
    }
  }

  async #held(worker: string): Promise<Record<string, string>> {
    return { ...(await this.client.hgetall(workerKeys(worker).leases)) };
  }

  /** Who is alive, as a router that comes at this moment hears it. */
  async compareLists(): Promise<void> {
    const alive = [...this.models].filter(([, { ledger, nowMs }]) => ledger.isAlive(nowMs)).map(([id]) => id);
    expect((await workersOf(this.registry)).map(({ workerId }) => workerId)).toEqual(alive);
  }
}

/** With what a heartbeat sweeps. */
function heartbeat(rules: WorkerLedger, epoch: number, nowMs: number): LedgerRefusal | undefined {
  return rules.heartbeat(epoch, nowMs) ?? rules.fence(epoch, rules.reservers().filter(isAbsent), nowMs);
}

/** As Redis has them. */
function heldBy(ledger: WorkerLedger): Record<string, string> {
  const text = (router: RouterIdentity | undefined) => (router ? `:${router.routerId}:${router.epoch}` : '');
  return Object.fromEntries(
    [...ledger.leases()].map(({ leaseId, pages: count, committed, router }) => [
      leaseId,
      `${committed ? 'c' : 'r'}:${count}${text(router)}`,
    ]),
  );
}

function epochsOf(which: 'current' | 'older' | 'newer', { epochs }: Model): Model['epochs'] {
  const change = { current: 0, older: -1, newer: 1 }[which];
  return { rules: Math.max(0, epochs.rules + change), redis: Math.max(0, epochs.redis + change) };
}

async function same(verb: Promise<void>, refusal: LedgerRefusal | undefined): Promise<void> {
  const got = await verb.then(
    () => undefined,
    (error: unknown) => (error instanceof KvcError ? error.code : error),
  );
  expect(got).toBe(refusal && refusalError(refusal, '').code);
}

describe('ledger and registry against the rules', () => {
  const redis = useRedis(startServer, ({ url }) => createRedisClient(url));

  it('answers and holds what the rules say, whatever comes in which order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(commandArbitrary, { minLength: 40, maxLength: 120, size: 'max' }),
        async (commands) => {
          await redis.client.flushdb();
          for (const [routerId, epoch] of Object.entries(PRESENT))
            await redis.client.hset(REGISTRY_KEYS.routers, routerId, `${epoch} 99999999999999 one`);
          const runner = new Runner(redis.client);
          for (const worker of workerIds) {
            await runner.run({ verb: 'register', worker, twice: false, capacity: 60 });
          }
          for (const command of commands) {
            await runner.run(command);
          }
          await runner.compareLists();
        },
      ),
      { numRuns: 50, seed: 20261125 },
    );
  }, 120_000);
});
