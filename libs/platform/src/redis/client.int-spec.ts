import { startServer, useRedis } from '@kvcapsule/testing/redis';
import type { Redis } from 'ioredis';
import { expect, it, vi } from 'vitest';

import { anotherOf } from './connection.js';
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

it('drops a connection to a replica once, however many commands of a pipeline it refuses', async () => {
  const first = redis.client as Redis;
  const second = anotherOf(first) as Redis;
  await second.connect();
  await first.replicaof('127.0.0.1', 1);
  for (const client of [first, second]) {
    const { stream } = client;
    const listeners = stream.listenerCount('close');
    const writes = Array.from({ length: 30 }, (_, at) => client.set(`key-${String(at)}`, 'value'));
    for (const write of await Promise.allSettled(writes)) expect(write.status).toBe('rejected');
    expect(stream.listenerCount('close')).toBeLessThanOrEqual(listeners + 1);
    await vi.waitFor(() => {
      expect(client.stream).not.toBe(stream);
      expect(client.status).toBe('ready');
    });
  }
  await first.replicaof('NO', 'ONE');
  expect(await Promise.all([first.set('key', 'one'), second.set('key', 'two')])).toEqual(['OK', 'OK']);
  second.disconnect();
});

it('tells that a password has been changed meanwhile, until the old one is taken again', async () => {
  const admin = redis.client as Redis;
  await admin.acl('SETUSER', 'app', 'on', '>first', '~*', '&*', '+@all');
  const client = await createRedisClient(redis.store.url.replace('redis://', 'redis://app:first@'));
  const ledger = new RedisLedger(client);
  const release = () => ledger.release({ workerId: 'w', epoch: 1, leaseId: 'l' });
  await release();
  await admin.acl('SETUSER', 'app', 'resetpass', '>second');
  await admin.client('KILL', 'USER', 'app');
  await vi.waitFor(async () => {
    await expect(release()).rejects.toThrow('the user or the password is not the one that it knows');
  }, 5_000);
  await admin.acl('SETUSER', 'app', '>first');
  await vi.waitFor(release, 5_000);
  client.disconnect();
});
