import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { MOST_RELEASED } from '@kvcapsule/domain/ledger';
import { workerDescriptor, workerLoad } from '@kvcapsule/testing/ports';
import { startServer, useRedis } from '@kvcapsule/testing/redis';
import { expect, it } from 'vitest';

import { createRedisClient, RedisLedger, RedisRegistry } from './index.js';
import { MOST_ANNOUNCEMENTS, REGISTRY_KEYS, type WorkerKeys, workerKeys } from './keys.js';

const PAGE = readFileSync(new URL('../../../../docs/reference/redis-keys.md', import.meta.url), 'utf8');
const LEASES = 600;
const POOL = {
  ...{ rawPages: 300_000, capsulePages: 200_000, cachedPages: 400_000, swappedPages: 0 },
  ...{ rawBytes: 90_000_000_000, drawnTokens: 9_000_000 },
};

const redis = useRedis(startServer, ({ url }) => createRedisClient(url));

/** What the page says that one of them takes at most. */
function stated(what: string): number {
  const row = new RegExp(`\\| ${what}[^|]*\\| ([\\d,]+) +\\|`).exec(PAGE);
  return Number(row?.[1]?.replaceAll(',', ''));
}

async function bytesOf(...keys: string[]): Promise<number> {
  const each = await Promise.all(keys.map((key) => redis.client.memory('USAGE', key, 'SAMPLES', 0)));
  return each.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
}

const of = (workerId: string, ...entities: (keyof WorkerKeys)[]) =>
  bytesOf(...entities.map((entity) => workerKeys(workerId)[entity]));

/** A few at a time, as they come. */
async function inTurn(count: number, verb: (index: number) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < count; from += 50)
    await Promise.all(Array.from({ length: Math.min(50, count - from) }, (_, i) => verb(from + i)));
}

it('holds no more of a worker, a lease and a lease given back than the page of the keys says', async () => {
  const registry = new RedisRegistry(redis.client);
  const router = { routerId: 'router-0123456789ab', epoch: Date.now() };
  const ledger = new RedisLedger(redis.client, { run: (reserve) => reserve(router) });
  const worker = workerDescriptor('host-name-0', { capacityPages: 1_000_000 });
  const register = (workerId: string) =>
    registry.register({ ...worker, workerId }, workerLoad(), { instanceId: randomUUID(), heldEpoch: 0 });
  await inTurn(100, (i) => register(`host-name-${i}`));
  const { epoch } = await register(worker.workerId);
  // no heartbeats here, however long it takes
  await redis.client.pexpire(workerKeys(worker.workerId).info, 600_000);
  const ids = Array.from({ length: LEASES }, () => randomUUID());
  const key = (i: number) => ({ workerId: worker.workerId, epoch, leaseId: ids[i] ?? '' });
  const text = JSON.stringify(worker).length;
  const measured: Record<string, number> = {
    'a worker':
      (await of(worker.workerId, 'epoch', 'info')) - text + (await bytesOf(REGISTRY_KEYS.members)) / 100,
  };
  await inTurn(LEASES, () =>
    registry.heartbeat(worker, epoch, workerLoad({ freePages: 999_999, pool: POOL })),
  );
  measured['an announcement'] = (await bytesOf(REGISTRY_KEYS.loads)) / (LEASES + 101);
  await inTurn(LEASES, (i) => ledger.reserve(key(i), 8, 60_000));
  measured['a lease reserved'] = (await of(worker.workerId, 'leases', 'deadlines')) / LEASES;
  await inTurn(LEASES, (i) => ledger.commit(key(i), 8));
  measured['a lease committed'] = (await of(worker.workerId, 'leases', 'deadlines')) / LEASES;
  await inTurn(LEASES, (i) => ledger.release(key(i)));
  measured['a lease given back'] = (await of(worker.workerId, 'leases', 'deadlines', 'released')) / LEASES;
  for (const [what, bytes] of Object.entries(measured)) {
    expect(bytes, what).toBeLessThanOrEqual(stated(what));
    expect(bytes, what).toBeGreaterThan(stated(what) / 2);
  }
  expect(PAGE).toContain(`at most ${MOST_RELEASED.toLocaleString('en')} of a worker`);
  expect(PAGE).toContain(`about the latest ${MOST_ANNOUNCEMENTS.toLocaleString('en')}`);
});

it('remembers no more leases given back than it may, whatever comes', async () => {
  const ledger = new RedisLedger(redis.client);
  const registry = new RedisRegistry(redis.client);
  const { epoch } = await registry.register(workerDescriptor('w1'), workerLoad(), {
    ...{ instanceId: 'one', heldEpoch: 0 },
  });
  const { info, released } = workerKeys('w1');
  await redis.client.pexpire(info, 600_000);
  const now = Date.now();
  await inTurn(MOST_RELEASED / 100, async (part) => {
    const old = Array.from({ length: 100 }, (_, i) => [now + 200_000 + i, `old-${part}-${i}`]);
    await redis.client.zadd(released, ...(old.flat() as [number, string]));
  });
  await inTurn(20, (i) => ledger.release({ workerId: 'w1', epoch, leaseId: `new-${i}` }));
  expect(await redis.client.zcard(released)).toBe(MOST_RELEASED);
  expect(await redis.client.zscore(released, 'new-19')).not.toBeNull();
});
