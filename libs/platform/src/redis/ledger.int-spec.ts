import { KvcError } from '@kvcapsule/contracts';
import { type WorkerDescriptor, type WorkerLoad } from '@kvcapsule/domain/registry';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startRedis, type RedisServer } from '../redis-server/index.js';
import { createRedisClient, RedisLedger, RedisRegistry, type RedisClient } from './index.js';
import { workerKeys } from './keys.js';

const LOAD: WorkerLoad = { state: 'ready', running: 0, waiting: 0, freePages: 0 };

function descriptor(workerId: string, capacityPages: number): WorkerDescriptor {
  return {
    workerId,
    address: '127.0.0.1:1',
    modelId: 'model',
    modelRevision: 'revision',
    contextTokens: 1024,
    blockTokens: 16,
    pagesPerBlock: 8,
    pageBytes: 4096,
    capacityPages,
    codec: 'raw',
    profileId: '',
    codecs: ['raw'],
    formats: [],
  };
}

/** What the ledger must do, with a map and no cleverness. Expired leases are dropped where the ports say so. */
class Model {
  epoch = 0;
  alive = false;
  capacity = 0;
  leases = new Map<string, { committed: boolean; pages: number; expired: boolean }>();

  pages(committed: boolean): number {
    return [...this.leases.values()]
      .filter((lease) => lease.committed === committed)
      .reduce((sum, lease) => sum + lease.pages, 0);
  }

  refusal(epoch: number): string | undefined {
    if (this.epoch !== 0 && epoch !== this.epoch) {
      return 'STALE_EPOCH';
    }
    return this.alive ? undefined : 'NO_WORKER';
  }

  dropExpired(but?: string): number {
    const expired = [...this.leases].filter(([id, lease]) => lease.expired && id !== but);
    expired.forEach(([id]) => this.leases.delete(id));
    return expired.length;
  }

  set(id: string, committed: boolean, pages: number): string {
    const others = this.pages(true) + this.pages(false) - (this.leases.get(id)?.pages ?? 0);
    if (pages > (this.leases.get(id)?.pages ?? 0) && others + pages > this.capacity) {
      return 'NO_CAPACITY';
    }
    this.leases.set(id, { committed, pages, expired: false });
    return 'ok';
  }

  reserve(epoch: number, id: string, pages: number): string {
    const refused = this.refusal(epoch);
    if (refused !== undefined || this.leases.get(id)?.committed === true) {
      return refused ?? 'ok';
    }
    this.dropExpired();
    return this.set(id, false, pages);
  }

  commit(epoch: number, id: string, pages: number): string {
    const refused = this.refusal(epoch);
    if (refused !== undefined) {
      return refused;
    }
    this.dropExpired(id);
    return this.set(id, true, pages);
  }

  extend(epoch: number, id: string, pages: number): string {
    const refused = this.refusal(epoch);
    if (refused !== undefined) {
      return refused;
    }
    if (this.leases.get(id)?.committed !== true) {
      return 'INTERNAL';
    }
    this.dropExpired();
    return this.set(id, true, pages);
  }

  release(epoch: number, id: string): string {
    if (this.refusal(epoch) === undefined) {
      this.leases.delete(id);
    }
    return 'ok';
  }

  heartbeat(epoch: number): string {
    const refused = this.refusal(epoch);
    if (refused === undefined) {
      this.dropExpired();
    }
    return refused ?? 'ok';
  }

  sweep(): number {
    const dropped = this.alive ? 0 : this.leases.size;
    if (!this.alive) {
      this.leases.clear();
    }
    return dropped + this.dropExpired();
  }
}

const workerIds = ['w1', 'w2'] as const;
const epochs = fc.oneof(
  { weight: 10, arbitrary: fc.constant('current') },
  { weight: 1, arbitrary: fc.constantFrom('older', 'newer') },
);
const common = { worker: fc.constantFrom(...workerIds), twice: fc.boolean() };
const leaseIds = fc.constantFrom('a', 'b', 'c');
const pages = fc.integer({ min: 0, max: 40 });

/** Weights keep a worker alive most of the time, else most verbs would only meet `NO_WORKER`. */
const commandArbitrary = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      ...common,
      verb: fc.constant('register'),
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
  { weight: 6, arbitrary: fc.record({ ...common, verb: fc.constant('sweep') }) },
  { weight: 4, arbitrary: fc.record({ ...common, verb: fc.constant('lease expires'), id: leaseIds }) },
  { weight: 1, arbitrary: fc.record({ ...common, verb: fc.constant('worker expires') }) },
);

interface Command {
  verb: string;
  worker: string;
  twice: boolean;
  capacity?: number;
  epoch?: string;
  id?: string;
  pages?: number;
}

/** Runs commands against Redis and the model and compares what they answer and what they hold. */
class Runner {
  readonly models = new Map<string, Model>(workerIds.map((id) => [id, new Model()]));
  private readonly ledger: RedisLedger;
  private readonly registry: RedisRegistry;

  constructor(private readonly client: RedisClient) {
    this.ledger = new RedisLedger(client);
    this.registry = new RedisRegistry(client);
  }

  async run(command: Command): Promise<void> {
    const model = this.models.get(command.worker) ?? new Model();
    await this.once(command, model);
    if (command.twice) {
      await this.once(command, model);
    }
    await this.compare(command.worker, model);
  }

  private async once(command: Command, model: Model): Promise<void> {
    const { worker, id = '', pages: count = 0 } = command;
    const epoch = model.epoch + { current: 0, older: -1, newer: 1 }[command.epoch ?? 'current']!;
    const key = { workerId: worker, epoch: Math.max(0, epoch), leaseId: id };
    switch (command.verb) {
      case 'register':
        return this.register(worker, command.capacity ?? 0, model);
      case 'reserve':
        return this.expectSame(this.ledger.reserve(key, count, 60_000), model.reserve(key.epoch, id, count));
      case 'commit':
        return this.expectSame(this.ledger.commit(key, count), model.commit(key.epoch, id, count));
      case 'extend':
        return this.expectSame(this.ledger.extend(key, count), model.extend(key.epoch, id, count));
      case 'release':
        return this.expectSame(this.ledger.release(key), model.release(key.epoch, id));
      case 'heartbeat':
        return this.expectSame(this.registry.heartbeat(worker, key.epoch, LOAD), model.heartbeat(key.epoch));
      case 'deregister':
        return this.deregister(worker, key.epoch, model);
      case 'sweep':
        return expect(await this.ledger.sweep(worker)).toBe(model.sweep());
      case 'lease expires':
        return this.expireLease(worker, id, model);
      default:
        await this.client.del(workerKeys(worker).info);
        model.alive = false;
    }
  }

  private async register(worker: string, capacity: number, model: Model): Promise<void> {
    const { epoch } = await this.registry.register(descriptor(worker, capacity), LOAD);
    expect(epoch).toBeGreaterThan(model.epoch);
    Object.assign(model, { epoch, capacity, alive: true });
    model.leases.clear();
  }

  private async deregister(worker: string, epoch: number, model: Model): Promise<void> {
    await this.registry.deregister(worker, epoch);
    if (model.refusal(epoch) !== 'STALE_EPOCH') {
      model.alive = false;
      model.leases.clear();
    }
  }

  private async expireLease(worker: string, id: string, model: Model): Promise<void> {
    // Moves whatever deadline Redis still knows, so that one that should be gone is noticed.
    await this.client.zadd(workerKeys(worker).deadlines, 'XX', 1, id);
    const lease = model.leases.get(id);
    if (lease?.committed === false) {
      lease.expired = true;
    }
  }

  private async expectSame(verb: Promise<void>, expected: string): Promise<void> {
    const got = await verb.then(
      () => 'ok',
      (error: unknown) => (error instanceof KvcError ? error.code : error),
    );
    expect(got).toBe(expected);
  }

  private async compare(worker: string, model: Model): Promise<void> {
    const account = await this.ledger.account(worker);
    const expected = {
      workerId: worker,
      epoch: model.epoch,
      capacityPages: model.capacity,
      reservedPages: model.pages(false),
      committedPages: model.pages(true),
      leases: model.leases.size,
    };
    expect(account).toEqual(model.alive ? expected : undefined);
    if (account !== undefined) {
      expect(account.reservedPages + account.committedPages).toBeLessThanOrEqual(account.capacityPages);
    }
    const alive = [...this.models].filter(([, { alive }]) => alive).map(([id]) => id);
    expect((await this.registry.list()).map(({ workerId }) => workerId)).toEqual(alive);
  }
}

describe('ledger and registry against a model', () => {
  let server: RedisServer;
  let client: RedisClient;

  beforeAll(async () => {
    server = await startRedis();
    client = await createRedisClient(server.url);
  });

  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  it('answers and holds what the model says, whatever comes in which order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(commandArbitrary, { minLength: 40, maxLength: 120, size: 'max' }),
        async (commands) => {
          await client.flushdb();
          const runner = new Runner(client);
          for (const worker of workerIds) {
            await runner.run({ verb: 'register', worker, twice: false, capacity: 60 });
          }
          for (const command of commands) {
            await runner.run(command);
          }
        },
      ),
      { numRuns: 50, seed: 20261125 },
    );
  }, 120_000);
});
