import type { RegistryPort } from '@kvcapsule/domain/registry';
import { createRedisClient, type RedisClient, RedisLedger, RedisRegistry } from '@kvcapsule/platform/redis';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';
import { workerDescriptor, workerLoad, workersOf } from '@kvcapsule/testing/ports';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { LeaseKeeper } from './lease-keeper.js';
import { Registration } from './registration.js';

/** A worker's side of the cluster over a real Redis that is stopped, killed and emptied. */
let redis: RedisServer;
let client: RedisClient;
let admin: RedisClient;
let leases: LeaseKeeper;
let worker: Registration;
let replaced: number;

async function start(registry: RegistryPort): Promise<void> {
  replaced = 0;
  const logger = pino({ enabled: false });
  leases = new LeaseKeeper({
    ...{ ledger: new RedisLedger(client), logger, capacityPages: workerDescriptor('w').capacityPages },
    identity: () => ({ workerId: 'w', epoch: worker.epoch }),
    givenBack: () => undefined,
    freed: () => undefined,
    forgotten: () => void worker.beatNow(),
  });
  const events = {
    registered: () => leases.rebuild(),
    beat: () => leases.retry(),
    replaced: () => void (replaced += 1),
  };
  worker = new Registration(registry, workerDescriptor('w'), workerLoad, events, logger, 100);
  await worker.start();
}

const account = () => new RedisLedger(client).account('w').catch(() => undefined);

async function acceptTwo(): Promise<void> {
  for (const [leaseId, pages] of [
    ['a', 10],
    ['b', 20],
  ] as const)
    await leases.accept(leaseId, { leaseId, epoch: BigInt(worker.epoch), pages });
}

beforeEach(async () => {
  redis = await startRedis();
  client = await createRedisClient(redis.url);
  admin = await createRedisClient(redis.url);
});

afterEach(async () => {
  await worker.stop();
  client.disconnect();
  admin.disconnect();
  await redis.stop();
});

it(
  'keeps its place when Redis carries its registration out and the answer is lost',
  { timeout: 180_000 },
  async () => {
    const registry = new RedisRegistry(client);
    let calls = 0;
    await start({
      register: (...args) => {
        calls += 1;
        // the second one is in Redis's socket when its caller gives up
        if (calls === 2) process.kill(redis.pid, 'SIGSTOP');
        return registry.register(...args).finally(() => process.kill(redis.pid, 'SIGCONT'));
      },
      heartbeat: (...args) => registry.heartbeat(...args),
      deregister: (...args) => registry.deregister(...args),
      freed: (...args) => registry.freed(...args),
      follow: (listener) => registry.follow(listener),
    });
    const first = worker.epoch;
    await acceptTwo();
    await admin.flushdb();
    await expect.poll(() => worker.epoch, { timeout: 20_000 }).toBeGreaterThan(first);
    await expect.poll(account, { timeout: 20_000 }).toMatchObject({
      ...{ epoch: worker.epoch, reservedPages: 0, committedPages: 30, leases: 2 },
    });
    expect(calls).toBeGreaterThan(2);
    expect(replaced).toBe(0);
  },
);

it('registers again when its descriptor is not in Redis as it was written, and keeps its leases', async () => {
  const registry = new RedisRegistry(client);
  await start(registry);
  await acceptTwo();
  await expect.poll(account).toMatchObject({ committedPages: 30 });
  for (const spoil of [
    () => admin.hset('kvc:v1:{w}:info:w', 'descriptor', '{"workerId":"w"'),
    () => admin.hset('kvc:v1:{w}:info:w', 'descriptor', JSON.stringify(workerDescriptor('other'))),
    () => admin.hdel('kvc:v1:{w}:info:w', 'descriptor'),
  ]) {
    const before = worker.epoch;
    await spoil();
    await expect.poll(() => worker.epoch, { timeout: 20_000 }).toBeGreaterThan(before);
    await expect.poll(account, { timeout: 20_000 }).toMatchObject({ committedPages: 30, leases: 2 });
    expect(await workersOf(registry)).toMatchObject([{ ...workerDescriptor('w'), epoch: worker.epoch }]);
  }
  const { epoch } = worker;
  for (let beats = 0; beats < 3; beats += 1) await worker.beatNow();
  expect([worker.epoch, replaced]).toEqual([epoch, 0]);
});

it('puts its leases back after Redis was killed and came back empty', { timeout: 180_000 }, async () => {
  await start(new RedisRegistry(client));
  await acceptTwo();
  await redis.kill();
  // the one is given back, the other grows and a third comes while nobody keeps the account
  await leases.release('a');
  await leases.resize('b', 40);
  await leases.accept('c', { leaseId: 'c', epoch: BigInt(worker.epoch), pages: 5, provisional: true });
  redis = await startRedis(redis);
  await expect.poll(account, { timeout: 20_000 }).toMatchObject({ committedPages: 45, leases: 2 });
  await leases.resize('b', 50);
  expect(await account()).toMatchObject({ epoch: worker.epoch, committedPages: 55, leases: 2 });
  for (const key of ['b', 'c']) await leases.release(key);
  expect(await account()).toMatchObject({ committedPages: 0, leases: 0 });
  expect(replaced).toBe(0);
});
