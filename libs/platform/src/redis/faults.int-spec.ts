import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';

import { LEASE_TTL_MS } from '@kvcapsule/domain/ledger';
import { type Registrant } from '@kvcapsule/domain/registry';
import { workerDescriptor, workerLoad, workersOf } from '@kvcapsule/testing/ports';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { startRedis, type RedisServer } from '../redis-server/index.js';
import { createRedisClient, RedisLedger, RedisRegistry, type RedisClient } from './index.js';
import { REGISTRY_KEYS, workerKeys } from './keys.js';

const LOAD = workerLoad();
const WORKER = workerDescriptor('w1');
const ONE: Registrant = { instanceId: 'one', heldEpoch: 0 };

let server: RedisServer;
let client: RedisClient;
let registry: RedisRegistry;
let ledger: RedisLedger;

beforeEach(async () => {
  server = await startRedis();
  client = await createRedisClient(server.url);
  registry = new RedisRegistry(client);
  ledger = new RedisLedger(client);
});

afterEach(async () => {
  client.disconnect();
  await server.stop();
});

const lease = (epoch: number, leaseId = 'a') => ({ workerId: 'w1', epoch, leaseId });

/** Tries until the verb succeeds; rejects with its last error after `limitMs`. */
async function eventually<T>(limitMs: number, verb: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    try {
      return await verb();
    } catch (error) {
      if (Date.now() > deadline) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

describe('registry', () => {
  it('forgets a worker without heartbeats, and its ledger soon after, by itself', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.reserve(lease(epoch), 10);
    const keys = workerKeys('w1');
    expect(await client.pttl(keys.info)).toBeGreaterThan(5_000);
    expect(await client.pttl(keys.info)).toBeLessThanOrEqual(6_000);
    expect(await client.pttl(keys.leases)).toBeGreaterThan(await client.pttl(keys.info));
    expect(await client.pttl(keys.deadlines)).toBeGreaterThan(await client.pttl(keys.info));
    await client.pexpire(keys.info, 1);
    await eventually(1_000, async () => expect(await workersOf(registry)).toEqual([]));
    await expect(registry.heartbeat(WORKER, epoch, LOAD)).rejects.toMatchObject({ code: 'NO_WORKER' });
    await expect(ledger.reserve(lease(epoch), 1)).rejects.toMatchObject({ code: 'NO_WORKER' });
  });

  it('refuses worker ids that would break out of the hash slot', async () => {
    await expect(registry.register({ ...WORKER, workerId: 'a}:b' }, LOAD, ONE)).rejects.toMatchObject({
      code: 'INTERNAL',
    });
  });
});

describe('ledger', () => {
  it('gives reserved pages back with a heartbeat when nobody asks for pages', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.reserve(lease(epoch), 10, 20);
    await eventually(2_000, async () => {
      await registry.heartbeat(WORKER, epoch, LOAD);
      expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0, leases: 0 });
    });
  });

  it('counts its pages anew with a heartbeat when the key of its leases was lost alone', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.reserve(lease(epoch, 'lost-1'), 10);
    await ledger.commit(lease(epoch, 'lost-2'), 20);
    await client.del(workerKeys('w1').leases);
    await ledger.reserve(lease(epoch, 'new-1'), 3);
    await ledger.commit(lease(epoch, 'new-2'), 4);
    await registry.heartbeat(WORKER, epoch, LOAD);
    expect(await ledger.account('w1')).toMatchObject({ reservedPages: 3, committedPages: 4, leases: 2 });
    await ledger.release(lease(epoch, 'new-1'));
    await ledger.release(lease(epoch, 'new-2'));
    await ledger.release(lease(epoch, 'lost-2'));
    expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0, committedPages: 0, leases: 0 });
  });

  it('never passes the capacity under 50 clients at once', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    // a busy machine takes longer than a record lives
    const heart = setInterval(
      () => void registry.heartbeat(WORKER, epoch, LOAD).catch(() => undefined),
      1_000,
    );
    const clients = await Promise.all(Array.from({ length: 50 }, () => createRedisClient(server.url)));
    let held = 0;
    let highest = 0;
    let refused = 0;
    await Promise.all(
      clients.map(async (own, index) => {
        const port = new RedisLedger(own);
        for (let round = 0; round < 20; round += 1) {
          const pages = 1 + ((index * 7 + round * 13) % 30);
          const key = lease(epoch, `${String(index)}-${String(round)}`);
          try {
            await port.reserve(key, pages);
            await port.commit(key, pages);
          } catch {
            refused += 1;
            continue;
          }
          held += pages;
          highest = Math.max(highest, held);
          const account = await port.account('w1');
          expect((account?.reservedPages ?? 0) + (account?.committedPages ?? 0)).toBeLessThanOrEqual(100);
          held -= pages;
          await port.release(key);
        }
      }),
    );
    clearInterval(heart);
    clients.forEach((own) => own.disconnect());
    expect(refused).toBeGreaterThan(0);
    expect(highest).toBeGreaterThan(50);
    expect(highest).toBeLessThanOrEqual(100);
    expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0, committedPages: 0, leases: 0 });
  }, 180_000);
});

describe('a key under which somebody else has written', () => {
  const put = async (key: string, other: 'list' | 'string') => {
    await client.del(key);
    await (other === 'list' ? client.lpush(key, 'x') : client.set(key, 'x'));
  };

  it.each([
    ['epoch', 'list'],
    ['info', 'string'],
    ['leases', 'string'],
    ['deadlines', 'string'],
    ['released', 'string'],
    ['routers', 'string'],
  ] as const)('is named, and replaced by the next heartbeat: %s', async (entity, other) => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.commit(lease(epoch, 'held'), 5);
    const key = workerKeys('w1')[entity];
    await put(key, other);
    const named = new RedisLedger(client, { run: (reserve) => reserve({ routerId: 'a', epoch: 1 }) });
    await expect(named.reserve(lease(epoch), 1)).rejects.toMatchObject({
      code: 'LEDGER_UNAVAILABLE',
      message: expect.stringContaining(`a ${other} at ${key} where a`) as string,
    });
    await expect(registry.heartbeat(WORKER, epoch, LOAD)).rejects.toMatchObject({ code: 'NO_WORKER' });
    const again = await registry.register(WORKER, LOAD, { ...ONE, heldEpoch: epoch });
    expect(again.epoch).toBeGreaterThan(epoch);
    await ledger.commit(lease(again.epoch, 'held'), 5);
    expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0, committedPages: 5, leases: 1 });
  });

  it('takes no other worker off the list', async () => {
    await registry.register(WORKER, LOAD, ONE);
    await registry.register(workerDescriptor('w2'), LOAD, { ...ONE, instanceId: 'two' });
    await put(workerKeys('w1').info, 'string');
    expect((await workersOf(registry)).map(({ workerId }) => workerId)).toEqual(['w2']);
  });

  it.each(['members', 'loads'] as const)(
    'is one of the registry’s: each worker is known again with its next heartbeat: %s',
    async (entity) => {
      const { epoch } = await registry.register(WORKER, LOAD, ONE);
      await put(REGISTRY_KEYS[entity], 'string');
      await expect(workersOf(registry)).rejects.toMatchObject({
        code: 'LEDGER_UNAVAILABLE',
        message: expect.stringContaining(REGISTRY_KEYS[entity]) as string,
      });
      await registry.heartbeat(WORKER, epoch, LOAD);
      expect((await workersOf(registry)).map(({ workerId }) => workerId)).toEqual(['w1']);
    },
  );
});

describe('a field in which somebody else has written', () => {
  const { info, leases, deadlines } = workerKeys('w1');

  it.each<[string, () => Promise<unknown>]>([
    ['no number as the capacity', () => client.hset(info, 'capacity', 'much')],
    ['another capacity', () => client.hset(info, 'capacity', 5)],
    ['no numbers as the sums', () => client.hset(info, 'reserved', 'x', 'committed', '1.5')],
    ['other sums', () => client.hset(info, 'reserved', 90, 'committed', 0)],
    ['what is no lease', () => client.hset(leases, 'x', 'nonsense', 'y', 'r:many', 'z', 'q:5')],
    ['more pages than there are numbers', () => client.hset(leases, 'x', `c:${'9'.repeat(400)}`)],
    ['deadlines of what is no lease', () => client.zadd(deadlines, 1, 'x', 1, 'y')],
    ['a deadline of a committed lease', () => client.zadd(deadlines, 1, 'committed')],
    ['nonsense in place of a lease with a deadline', () => client.hset(leases, 'short', 'nonsense')],
  ])('is put right by the next heartbeat: %s', async (_name, write) => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.commit(lease(epoch, 'committed'), 40);
    await ledger.reserve(lease(epoch, 'reserved'), 10, 600_000);
    await ledger.reserve(lease(epoch, 'short'), 3, 1);
    await sleep(5);
    await write();
    await registry.heartbeat(WORKER, epoch, LOAD);
    const account = { capacityPages: WORKER.capacityPages, reservedPages: 10, committedPages: 40, leases: 2 };
    expect(await ledger.account('w1')).toMatchObject(account);
    await ledger.commit(lease(epoch, 'reserved'), 60);
    await expect(ledger.reserve(lease(epoch, 'more'), 1)).rejects.toMatchObject({ code: 'NO_CAPACITY' });
    await ledger.release(lease(epoch, 'committed'));
    await ledger.release(lease(epoch, 'reserved'));
    expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0, committedPages: 0, leases: 0 });
  });

  it.each(['9007199254740993 one', '9007199254740993 other', `${'9'.repeat(30)} other`, '1e20 one'])(
    'is no epoch that nobody could come after: %s',
    async (written) => {
      const { epoch } = await registry.register(WORKER, LOAD, ONE);
      await client.set(workerKeys('w1').epoch, written);
      await expect(registry.heartbeat(WORKER, epoch, LOAD)).rejects.toMatchObject({ code: 'NO_WORKER' });
      const again = await registry.register(WORKER, LOAD, { ...ONE, heldEpoch: epoch });
      expect(Math.abs(again.epoch - Date.now())).toBeLessThan(60_000);
      await ledger.reserve(lease(again.epoch), 1);
    },
  );

  it('ends a reservation whose deadline was lost, with another', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.reserve(lease(epoch, 'a'), 10);
    await client.del(deadlines);
    await registry.heartbeat(WORKER, epoch, LOAD);
    const deadline = Number(await client.zscore(deadlines, 'a'));
    expect(deadline - Date.now()).toBeGreaterThan(LEASE_TTL_MS - 5_000);
    expect(deadline - Date.now()).toBeLessThanOrEqual(LEASE_TTL_MS);
  });
});

describe('faults of Redis', () => {
  it('says so within 3 s when Redis is killed, and works again after a new registration', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.commit(lease(epoch), 10);
    // all of them fit: none may be refused for another reason
    const inFlight = Array.from({ length: WORKER.capacityPages - 10 }, (_, index) =>
      ledger.reserve(lease(epoch, String(index)), 1),
    );
    const outcomes = Promise.allSettled(inFlight);
    const killedAt = Date.now();
    await server.kill();
    await outcomes;
    const unavailable = { code: 'LEDGER_UNAVAILABLE' };
    await expect(ledger.reserve(lease(epoch), 1)).rejects.toMatchObject(unavailable);
    await expect(workersOf(registry)).rejects.toMatchObject(unavailable);
    expect(Date.now() - killedAt).toBeLessThan(6_000);
    for (const outcome of await outcomes) {
      expect(outcome.status === 'fulfilled' ? unavailable : outcome.reason).toMatchObject(unavailable);
    }

    server = await startRedis(server);
    await eventually(3_000, () =>
      expect(registry.heartbeat(WORKER, epoch, LOAD)).rejects.toMatchObject({ code: 'NO_WORKER' }),
    );
    const again = await registry.register(WORKER, LOAD, ONE);
    expect(again.epoch).toBeGreaterThan(epoch);
    await ledger.commit(lease(again.epoch), 10);
    expect(await ledger.account('w1')).toMatchObject({ epoch: again.epoch, committedPages: 10, leases: 1 });
    await expect(ledger.commit(lease(epoch), 1)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
  }, 180_000);

  it('rejects within 3 s when Redis hangs, and goes on when it is back', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    process.kill(server.pid, 'SIGSTOP');
    const stoppedAt = Date.now();
    try {
      await expect(ledger.reserve(lease(epoch), 1)).rejects.toMatchObject({ code: 'LEDGER_UNAVAILABLE' });
      expect(Date.now() - stoppedAt).toBeLessThan(3_000);
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
    await eventually(5_000, () => ledger.commit(lease(epoch), 7));
    expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0, committedPages: 7, leases: 1 });
  }, 180_000);

  it('gives a process the epoch it has won although the answer was lost', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await client.del(workerKeys('w1').info);
    process.kill(server.pid, 'SIGSTOP');
    const lost = registry.register(WORKER, LOAD, { ...ONE, heldEpoch: epoch });
    await expect(lost).rejects.toMatchObject({ code: 'LEDGER_UNAVAILABLE' });
    process.kill(server.pid, 'SIGCONT');
    await eventually(5_000, () =>
      expect(registry.heartbeat(WORKER, epoch, LOAD)).rejects.toMatchObject({ code: 'STALE_EPOCH' }),
    );
    const won = await ledger.account('w1');
    const again = await registry.register(WORKER, LOAD, { ...ONE, heldEpoch: epoch });
    expect(again.epoch).toBe(won?.epoch);
    await registry.heartbeat(WORKER, again.epoch, LOAD);
  }, 180_000);

  it('rejects at once when there is no Redis to connect to', async () => {
    await server.kill();
    const { host } = new URL(server.url);
    await expect(createRedisClient(server.url)).rejects.toMatchObject({
      code: 'LEDGER_UNAVAILABLE',
      message: expect.stringMatching(`^Redis at ${host} .*ECONNREFUSED.*--redis`) as string,
    });
  });

  it('refuses a wrong password without telling it', async () => {
    const url = new URL(server.url);
    url.password = 'hunter2';
    const error: unknown = await createRedisClient(url.href).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'LEDGER_UNAVAILABLE' });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('hunter2');
  });

  it('goes on after SCRIPT FLUSH', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.reserve(lease(epoch), 1);
    await client.script('FLUSH');
    await ledger.reserve(lease(epoch), 2);
    await client.script('FLUSH');
    await ledger.commit(lease(epoch), 3);
    expect(await ledger.account('w1')).toMatchObject({ committedPages: 3 });
  });

  it('survives its connection being closed over and over', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    const killer = await createRedisClient(server.url);
    for (let round = 1; round <= 10; round += 1) {
      await killer.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await ledger.commit(lease(epoch), round);
      expect(await ledger.account('w1')).toMatchObject({ committedPages: round, leases: 1 });
    }
    killer.disconnect();
  }, 180_000);

  it('leaves a connection that has become a replica’s', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    const admin = await createRedisClient(server.url);
    await admin.replicaof('127.0.0.1', '1');
    await expect(ledger.commit(lease(epoch), 1)).rejects.toMatchObject({ code: 'LEDGER_UNAVAILABLE' });
    await admin.replicaof('NO', 'ONE');
    await eventually(5_000, () => ledger.commit(lease(epoch), 4));
    expect(await ledger.account('w1')).toMatchObject({ committedPages: 4, leases: 1 });
    admin.disconnect();
  }, 180_000);

  it.each([
    ['is a replica', ['REPLICAOF', '127.0.0.1', '1']],
    ['has too few replicas', ['CONFIG', 'SET', 'min-replicas-to-write', '1']],
  ] as const)(
    'refuses every verb but reading, whatever it holds, when Redis %s',
    async (_why, command) => {
      const { epoch } = await registry.register(WORKER, LOAD, ONE);
      await ledger.commit(lease(epoch), 4);
      const admin = await createRedisClient(server.url);
      const [name, ...args] = command;
      await admin.call(name, ...args);
      admin.disconnect();
      const of = (workerId: string) => ({ ...lease(epoch), workerId });
      const verbs = ['w1', 'unseen'].flatMap((workerId) => [
        ledger.reserve(of(workerId), 1),
        ledger.commit(of(workerId), 1),
        ledger.extend(of(workerId), 1),
        ledger.release(of(workerId)),
        registry.register(workerDescriptor(workerId), LOAD, ONE),
        registry.heartbeat(workerDescriptor(workerId), epoch, LOAD),
        registry.deregister(workerId, epoch),
      ]);
      const outcomes = await Promise.allSettled([...verbs, workersOf(registry)]);
      const refused = { status: 'rejected', reason: { code: 'LEDGER_UNAVAILABLE' } };
      expect(outcomes).toMatchObject(outcomes.map(() => refused));
      expect(await ledger.account('w1')).toMatchObject({ committedPages: 4, leases: 1 });
      await expect(createRedisClient(server.url)).rejects.toMatchObject({ code: 'LEDGER_UNAVAILABLE' });
    },
    20_000,
  );

  it('keeps workers and gives pages back when Redis is at its memory limit', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await ledger.commit(lease(epoch, 'held'), 5);
    await ledger.reserve(lease(epoch, 'short'), 6, 1_500);
    await client.config('SET', 'maxmemory', '1');
    await expect(ledger.reserve(lease(epoch), 1)).rejects.toMatchObject({ code: 'LEDGER_UNAVAILABLE' });
    await registry.heartbeat(WORKER, epoch, LOAD);
    await ledger.release(lease(epoch, 'held'));
    await eventually(5_000, async () => {
      await registry.heartbeat(WORKER, epoch, LOAD);
      expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0 });
    });
    expect(await ledger.account('w1')).toMatchObject({ reservedPages: 0, committedPages: 0, leases: 0 });
  });

  it('takes a worker back that it has forgotten, and a new one in, when Redis is at its memory limit', async () => {
    const { epoch } = await registry.register(WORKER, LOAD, ONE);
    await client.config('SET', 'maxmemory', '1');
    await client.pexpire(workerKeys('w1').info, 1);
    await sleep(5);
    await expect(registry.heartbeat(WORKER, epoch, LOAD)).rejects.toMatchObject({ code: 'NO_WORKER' });
    const again = await registry.register(WORKER, LOAD, { ...ONE, heldEpoch: epoch });
    await ledger.commit(lease(again.epoch, 'held'), 5);
    await registry.register(workerDescriptor('w2'), LOAD, { instanceId: 'two', heldEpoch: 0 });
    expect((await workersOf(registry)).map(({ workerId }) => workerId)).toEqual(['w1', 'w2']);
  });
});
