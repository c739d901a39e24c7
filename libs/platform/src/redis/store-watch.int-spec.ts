import { startServer, useRedis } from '@kvcapsule/testing/redis';
import { expect, it } from 'vitest';

import { createRedisClient, StoreWatch } from './index.js';

const redis = useRedis(startServer, ({ url }) => createRedisClient(url));

it('finds with a new connection that the store removes keys, says so once, and finds that it was mended', async () => {
  const { url } = redis.store;
  const client = await createRedisClient(url);
  const lines: string[] = [];
  const watch = new StoreWatch(client, url, (line) => lines.push(line));
  const reconnect = () => redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  const fault = () => watch.fault;
  try {
    await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru');
    for (let time = 0; time < 3; time += 1) {
      await reconnect();
      await expect.poll(fault, { timeout: 50_000 }).toContain('maxmemory-policy allkeys-lru');
    }
    expect(lines).toEqual([expect.stringContaining('set it to noeviction')]);
    await redis.client.config('SET', 'maxmemory-policy', 'noeviction');
    await reconnect();
    await expect.poll(fault, { timeout: 50_000 }).toBeUndefined();
    expect(lines).toHaveLength(2);
  } finally {
    watch.stop();
    client.disconnect();
  }
});
