import { setTimeout as sleep } from 'node:timers/promises';
import { createRedisClient } from '@kvcapsule/platform/redis';
import type { RedisServer } from '@kvcapsule/platform/redis-server';
import { startRedis } from '@kvcapsule/platform/redis-server';
import { createMetrics } from '@kvcapsule/platform/telemetry';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RedisPorts } from './redis-ports.adapter.js';
import { delta, endless, finished, started } from './testing/fake-worker.js';
import { Harness, until } from './testing/harness.js';
import { workerRecord } from './testing/memory-ports.js';

/** The router over a real Redis; the worker stays a fake that heartbeats as a real one does. */
let redis: RedisServer;
let workerSide: RedisPorts;
let router: Harness;
let heart: NodeJS.Timeout;

const load = { state: 'ready', running: 0, waiting: 0, freePages: 160 } as const;

const open = (routerId: string) =>
  RedisPorts.open({ redis: redis.url }, routerId, createMetrics('router'), () => undefined);

const record = () => workerRecord('w0', router.worker.address);

async function register(): Promise<number> {
  const { epoch } = await workerSide.registry.register(record(), load, { instanceId: 'fake', heldEpoch: 0 });
  return epoch;
}

beforeEach(async () => {
  redis = await startRedis();
  workerSide = await open('fake');
  router = new Harness(await open('router'));
  await router.start({ queueEntries: 200, queueWaitMs: 5_000 });
  let epoch = await register();
  heart = setInterval(() => {
    workerSide.registry.heartbeat(record(), epoch, load).catch(async () => {
      epoch = await register().catch(() => epoch);
    });
  }, 500);
  const ready = async () => (await fetch(`${router.url}/health/ready`)).status === 200;
  while (!(await ready())) await sleep(50);
});

afterEach(async () => {
  clearInterval(heart);
  await router.stop();
  await workerSide.close();
  await redis.stop();
});

describe('over Redis', () => {
  it('tells how much memory the store takes, and how much it may', { timeout: 180_000 }, async () => {
    const client = await createRedisClient({ redis: redis.url });
    const memory = async () => {
      const text = await (await fetch(`${router.url}/metrics`)).text();
      const of = (name: string) =>
        Number(new RegExp(`^kvcapsule_router_store_memory_${name} (\\d+)$`, 'm').exec(text)?.[1]);
      return { used: of('bytes'), limit: of('limit_bytes') };
    };
    // read first while the router starts, which does not wait for it
    const before = await vi.waitUntil(
      async () => {
        const now = await memory();
        return now.used > 0 && now;
      },
      { timeout: 120_000, interval: 200 },
    );
    expect(before).toMatchObject({ limit: 0 });
    await client.config('SET', 'maxmemory', '512mb');
    await client.set('ballast', Buffer.alloc(8_000_000));
    // read every ten seconds
    const after = await vi.waitUntil(
      async () => {
        const now = await memory();
        return now.limit > 0 && now;
      },
      { timeout: 120_000, interval: 200 },
    );
    expect(after.limit).toBe(512 * 2 ** 20);
    expect(after.used - before.used).toBeGreaterThan(7_000_000);
    client.disconnect();
  });

  it('leaves no lease after aborted and finished requests', { timeout: 180_000 }, async () => {
    router.worker.script = endless;
    const requests = Array.from({ length: 60 }, async (_, i) => {
      const signal = AbortSignal.timeout(20 + ((i * 37) % 400));
      const response = await router.chat('x'.repeat(1 + (i % 40)), { stream: i % 2 === 0 }, { signal });
      await response.text();
    });
    await Promise.allSettled(requests);
    await until(() => router.worker.running === 0);
    const end = performance.now() + 3_000;
    while ((await workerSide.ledger.account('w0'))?.leases !== 0 && performance.now() < end) await sleep(50);
    expect(await workerSide.ledger.account('w0')).toMatchObject({
      leases: 0,
      reservedPages: 0,
      committedPages: 0,
    });
  });

  it(
    'lets a request go on at once that waits for pages of another router’s',
    { timeout: 180_000 },
    async () => {
      const other = await new Harness(await open('other')).start({ queueWaitMs: 30_000 }, 0);
      try {
        // heartbeats alone would tell of the pages seconds later
        clearInterval(heart);
        const record = workerRecord('w0', router.worker.address, { capacityPages: 8 });
        const by = { instanceId: 'small', heldEpoch: 0 };
        const { epoch } = await workerSide.registry.register(record, { ...load, freePages: 8 }, by);
        await until(() => [router, other].every(({ fleet }) => fleet.views()[0]?.record.epoch === epoch));
        router.worker.script = endless;
        const first = new AbortController();
        const running = router.chat('abc', { stream: true }, { signal: first.signal });
        await until(() => router.worker.running === 1);
        await workerSide.registry.heartbeat(record, epoch, { ...load, freePages: 8 });
        const wanted = vi.spyOn(other.fleet, 'wanted');
        router.worker.script = (request, say) => say(started(), finished(request, 0));
        const waiting = other.chat('abc');
        await until(() => wanted.mock.calls.length > 0);
        await sleep(300);
        const beganMs = performance.now();
        first.abort();
        await Promise.allSettled([running]);
        const account = async () => (await workerSide.ledger.account('w0'))?.leases;
        await expect.poll(account, { interval: 1, timeout: 5_000 }).toBe(0);
        await workerSide.registry.freed('w0', epoch, { ...load, freePages: 8 });
        expect((await waiting).status).toBe(200);
        // milliseconds, and some for a busy machine
        expect(performance.now() - beganMs).toBeLessThan(1_500);
      } finally {
        await other.stop();
      }
    },
  );

  it(
    'outlives the death of Redis: streams finish, requests are answered, and reservations resume',
    { timeout: 180_000 },
    async () => {
      router.worker.script = async (request, say) => {
        say(started());
        await sleep(2_500);
        say(delta('done'), finished(request, 1));
      };
      const stream = await router.chat('abc', { stream: true });
      await redis.kill();
      expect((await router.chat()).status).toBe(200);
      expect(await stream.text()).toContain('[DONE]');
      redis = await startRedis(redis);
      router.worker.script = (request, say) => say(started(), finished(request, 0));
      const isProvisional = async () => {
        expect((await router.chat()).status).toBe(200);
        return router.worker.received.at(-1)?.lease?.provisional;
      };
      expect(await isProvisional()).toBe(true);
      await expect.poll(isProvisional, { timeout: 15_000, interval: 100 }).toBe(false);
    },
  );
});
