import { startServer, useRedis } from '@kvcapsule/testing/redis';
import type { Redis } from 'ioredis';
import { expect, it, vi } from 'vitest';

import { createRedisClient, RedisLedger } from './index.js';

const redis = useRedis(startServer, ({ url }) => createRedisClient(url));

it('sends what is asked for in one turn of the event loop in one write', async () => {
  const ledger = new RedisLedger(redis.client);
  const { stream } = redis.client as Redis;
  const release = (lease: number) =>
    ledger.release({ workerId: 'w', epoch: 1, leaseId: `l${String(lease)}` });
  // Of each script the first call finds out that Redis does not have it.
  await release(0);
  const single = vi.spyOn(stream, '_write');
  const many = vi.spyOn(stream as Required<typeof stream>, '_writev');
  await Promise.all([1, 2, 3, 4].map((lease) => release(lease)));
  expect([single.mock.calls.length, many.mock.calls.length]).toEqual([0, 1]);
});
