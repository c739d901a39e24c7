import { setTimeout as sleep } from 'node:timers/promises';

import type { Following, RegistryNews } from '@kvcapsule/domain/registry';
import { workerDescriptor, workerLoad, workersOf } from '@kvcapsule/testing/ports';
import { startServer, useRedis } from '@kvcapsule/testing/redis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createRedisClient, type RedisClient, RedisRegistry } from './index.js';
import { REGISTRY_KEYS } from './keys.js';

const WORKER = workerDescriptor('w1');
const BY = { instanceId: 'one', heldEpoch: 0 };
/** Ends a hang; the machine may be busy. */
const PATIENCE = { timeout: 50_000, interval: 20 };

const redis = useRedis(startServer, ({ url }) => createRedisClient(url));
let registry: RedisRegistry;
let client: RedisClient;
let following: Following | undefined;
let heard: Heard;

class Heard {
  readonly free = new Map<string, number>();
  readonly gone: string[] = [];
  freed = 0;
  news = 0;
  missed = 0;

  readonly listener = {
    heard: ({ told, gone, freed }: RegistryNews) => {
      this.news += 1;
      for (const { workerId, load } of told) this.free.set(workerId, load.freePages);
      for (const workerId of gone) this.free.delete(workerId);
      this.gone.push(...gone);
      if (freed) this.freed += 1;
    },
    missed: () => void (this.missed += 1),
  };
}

const register = async (workerId: string) => {
  const { epoch } = await registry.register(workerDescriptor(workerId), workerLoad(), BY);
  return epoch;
};

beforeEach(async () => {
  await redis.client.flushall();
  client = await createRedisClient(redis.store.url);
  registry = new RedisRegistry(client);
  heard = new Heard();
});

afterEach(async () => {
  await following?.stop();
  following = undefined;
  client.disconnect();
});

const follow = async () => (following = await registry.follow(heard.listener));

/** Id of a client's connection that has just sent such a command. */
async function connectionOf(command: string): Promise<string> {
  const list = String(await redis.client.call('CLIENT', 'LIST'));
  const line = list.split('\n').find((one) => one.includes(` cmd=${command} `)) ?? '';
  return /^id=(\d+)/.exec(line)?.[1] ?? '';
}

describe('who follows the stream', () => {
  it('hears of what is announced by itself, without asking for any worker', async () => {
    const epoch = await register('w1');
    await follow();
    expect(heard.free).toEqual(new Map([['w1', 90]]));
    await registry.heartbeat(WORKER, epoch, workerLoad({ freePages: 12 }));
    // what is asked for from here on is the follower's
    await redis.client.config('RESETSTAT');
    await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(12);
    await sleep(600);
    const stats = String(await redis.client.info('commandstats'));
    for (const command of ['hmget', 'hgetall', 'smembers', 'scan', 'keys'])
      expect(stats).not.toContain(`cmdstat_${command}:`);
  });

  it('passes over what others have written, and counts it', async () => {
    const epoch = await register('w1');
    await follow();
    const { loads, members } = REGISTRY_KEYS;
    for (const text of ['nonsense', `beat nobody ${epoch} ready 0 0 5`, 'x'.repeat(10_000)])
      await redis.client.xadd(loads, '*', 'a', text);
    await redis.client.xadd(loads, '*', 'a', `beat w1 ${epoch} ready 0 0 5`, 'b', 'more');
    await redis.client.hset(members, { other: 'nonsense', old: `5 ${epoch} ready 0 0 5`, __proto__x: '' });
    await following?.look();
    await expect.poll(() => following?.figures, PATIENCE).toMatchObject({ entries: 4, skipped: 3, gaps: 0 });
    expect(heard.free).toEqual(new Map([['w1', 5]]));
    // who comes later finds them, and takes them out
    expect((await workersOf(registry)).map(({ workerId }) => workerId)).toEqual(['w1']);
    expect(await redis.client.hkeys(members)).toEqual(['w1']);
  });

  it(
    'loses who is silent, by the store’s clock, and takes no other time for silence',
    { timeout: 180_000 },
    async () => {
      const epoch = await register('w1');
      await register('silent');
      await follow();
      const beating = setInterval(() => void registry.heartbeat(WORKER, epoch, workerLoad()), 500);
      try {
        const beganMs = performance.now();
        await expect.poll(() => heard.gone, PATIENCE).toEqual(['silent']);
        expect(performance.now() - beganMs).toBeGreaterThan(5_000);
        expect(heard.free.has('w1')).toBe(true);
      } finally {
        clearInterval(beating);
      }
    },
  );

  it('reads all anew where announcements have gone, and where the store has lost everything', async () => {
    const epoch = await register('w1');
    await follow();
    await redis.client.eval(
      `for i = 1, 100 do redis.call('XADD', KEYS[1], '*', 'a', 'x') end redis.call('XTRIM', KEYS[1], 'MAXLEN', 10)
       redis.call('HSET', KEYS[2], 'w1', redis.call('TIME')[1] .. '000 ${epoch} ready 0 0 4')`,
      ...[2, REGISTRY_KEYS.loads, REGISTRY_KEYS.members],
    );
    await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(4);
    expect(following?.figures.gaps).toBe(1);
    await redis.client.flushall();
    await expect.poll(() => heard.gone, PATIENCE).toEqual(['w1']);
    await register('w1');
    await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(90);
  });

  it('goes on where the store’s clock was turned back', async () => {
    const epoch = await register('w1');
    const { loads } = REGISTRY_KEYS;
    await redis.client.xadd(loads, '9999999999999-0', 'a', `beat w1 ${epoch} ready 0 0 1`);
    await follow();
    await redis.client.del(loads);
    await registry.heartbeat(WORKER, epoch, workerLoad({ freePages: 33 }));
    await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(33);
    await registry.heartbeat(WORKER, epoch, workerLoad({ freePages: 34 }));
    await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(34);
  });

  it('goes on when its connection is closed, over and over, and after SCRIPT FLUSH', async () => {
    const epoch = await register('w1');
    await follow();
    for (let round = 1; round <= 5; round += 1) {
      await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      if (round === 3) await redis.client.script('FLUSH');
      await registry.heartbeat(WORKER, epoch, workerLoad({ freePages: round }));
      await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(round);
    }
    expect(heard.gone).toEqual([]);
  });

  it('keeps everybody while the store stands still', { timeout: 180_000 }, async () => {
    await register('w1');
    await follow();
    await redis.store.server.pause();
    try {
      await expect.poll(() => heard.missed, PATIENCE).toBeGreaterThan(2);
      await sleep(6_500);
    } finally {
      await redis.store.server.resume();
    }
    const before = heard.news;
    await expect.poll(() => heard.news, PATIENCE).toBeGreaterThan(before + 2);
    expect(heard.gone).toEqual([]);
    expect(heard.free.has('w1')).toBe(true);
  });

  it.each([
    ['is a replica', 'REPLICAOF 127.0.0.1 1', 'REPLICAOF NO ONE'],
    ['has too few replicas', 'CONFIG SET min-replicas-to-write 1', 'CONFIG SET min-replicas-to-write 0'],
  ])(
    'keeps everybody while the store answers and takes no writes, since it %s',
    { timeout: 180_000 },
    async (_why, refuse, allow) => {
      await register('w1');
      await follow();
      const { server } = redis.store;
      await server.say(refuse);
      try {
        await expect.poll(() => heard.missed, PATIENCE).toBeGreaterThan(2);
        await sleep(6_500);
      } finally {
        await server.say(allow);
      }
      const before = heard.news;
      await expect.poll(() => heard.news, PATIENCE).toBeGreaterThan(before + 2);
      expect(heard.gone).toEqual([]);
      expect(heard.free.has('w1')).toBe(true);
    },
  );

  it('outlives CLIENT PAUSE', { timeout: 180_000 }, async () => {
    const epoch = await register('w1');
    await follow();
    await redis.client.call('CLIENT', 'PAUSE', '2500');
    await sleep(2_600);
    await registry.heartbeat(WORKER, epoch, workerLoad({ freePages: 21 }));
    await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(21);
    expect(heard.gone).toEqual([]);
  });

  it('tells of pages given back at once while somebody waits, and keeps the stream free of them else', async () => {
    const epoch = await register('w1');
    await follow();
    const { loads } = REGISTRY_KEYS;
    const entries = await redis.client.xlen(loads);
    await registry.freed('w1', epoch, workerLoad({ freePages: 60 }));
    expect(await redis.client.xlen(loads)).toBe(entries);
    following?.want();
    // what was given back before somebody waited
    await expect.poll(() => heard.free.get('w1'), PATIENCE).toBe(60);
    expect(heard.freed).toBe(1);
    for (const freePages of [61, 62, 63]) {
      await registry.freed('w1', epoch, workerLoad({ freePages }));
      await expect.poll(() => heard.free.get('w1'), { ...PATIENCE, interval: 1 }).toBe(freePages);
    }
    expect(await redis.client.xlen(loads)).toBe(entries + 3);
    expect(await connectionOf('xread')).not.toBe(await connectionOf('evalsha'));
    expect(await redis.client.pttl(REGISTRY_KEYS.wanted)).toBeLessThanOrEqual(5_000);
  });
});
