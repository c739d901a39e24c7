import { afterAll, beforeAll, expect, it, vi } from 'vitest';

import { startRedis, type RedisServer } from '../redis-server/index.js';
import { createRedisClient, type RedisClient, RedisLedger } from './index.js';

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

it('sends what is asked for in one turn of the event loop in one write', async () => {
  const ledger = new RedisLedger(client);
  const release = (lease: number) =>
    ledger.release({ workerId: 'w', epoch: 1, leaseId: `l${String(lease)}` });
  // Of each script the first call finds out that Redis does not have it.
  await release(0);
  const single = vi.spyOn(client.stream, '_write');
  const many = vi.spyOn(client.stream as Required<typeof client.stream>, '_writev');
  await Promise.all([1, 2, 3, 4].map((lease) => release(lease)));
  expect([single.mock.calls.length, many.mock.calls.length]).toEqual([0, 1]);
});
