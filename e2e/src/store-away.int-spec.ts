import { setTimeout as sleep } from 'node:timers/promises';
import { FaultProxy } from '@kvcapsule/testing/network';
import { type Server, startServer, type Store } from '@kvcapsule/testing/redis';
import { afterEach, describe, expect, it } from 'vitest';
import { ask, Cluster, events, quiet, until } from './harness.js';

/** How much later than without a fault a request's end may come; what it is bounded by is 250 ms and the tests' machine. */
const LATE_MS = 1_500;
/** Short streams at one time, with a pause that leaves the machine to whatever runs beside this. */
const CLIENTS = 4;
const PAUSE_MS = 50;

let cluster: Cluster | undefined;
const ended: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
  for (const end of ended.splice(0)) await end();
});

interface Outcome {
  readonly status: number;
  readonly last: string;
  readonly tookMs: number;
}

/** Streams of a few tokens, one after the other for each client, until it is stopped. */
class Load {
  readonly outcomes: Outcome[] = [];
  readonly #clients: Promise<void>[];
  #isOver = false;

  constructor(private readonly on: Cluster) {
    this.#clients = Array.from({ length: CLIENTS }, (_, client) => this.#run(client));
  }

  /** Resolves when so many more have ended. */
  async more(count: number): Promise<void> {
    const all = this.outcomes.length + count;
    await until(() => this.outcomes.length >= all, 60_000);
  }

  async stop(): Promise<readonly Outcome[]> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    return this.outcomes;
  }

  async #run(client: number): Promise<void> {
    for (let turn = 0; !this.#isOver; turn += 1) {
      const content = `Say ${client} and ${turn}.`;
      const messages = [ask(content)];
      const beganMs = performance.now();
      const response = await this.on.chat({ model: 'emoji-vlm', stream: true, max_tokens: 4, messages });
      const text = await response.text();
      const last = events(text).at(-1) ?? text;
      this.outcomes.push({ status: response.status, last, tookMs: performance.now() - beganMs });
      await sleep(PAUSE_MS);
    }
  }
}

const slowest = (outcomes: readonly Outcome[]): number => Math.max(...outcomes.map(({ tookMs }) => tookMs));

/** A cluster whose store's faults a test makes, with two workers so that there is something to choose. */
async function under(
  fault: (parts: { server: Server; proxy: FaultProxy; load: Load }) => Promise<void>,
): Promise<{ readonly during: readonly Outcome[]; readonly usualMs: number }> {
  const store = await startServer({ password: 'of-the-tests' });
  const proxy = await FaultProxy.start(store.server.port);
  ended.push(() => proxy.stop());
  const through: Store = { ...store, ...at(store, proxy.port) };
  cluster = await Cluster.start({ workers: 2, store: () => Promise.resolve(through) });
  const load = new Load(cluster);
  await load.more(20);
  const usualMs = slowest(load.outcomes);
  const before = load.outcomes.length;
  await fault({ server: store.server, proxy, load });
  await load.more(20);
  const during = (await load.stop()).slice(before);
  return { during, usualMs };
}

function at({ url }: Store, port: number): Pick<Store, 'url' | 'settings'> {
  const moved = new URL(url);
  moved.port = String(port);
  return { url: moved.href, settings: { redis: moved.href } };
}

async function expectServed({ during, usualMs }: Awaited<ReturnType<typeof under>>): Promise<void> {
  const failed = during.filter(({ status, last }) => status !== 200 || last !== '[DONE]');
  expect(failed).toEqual([]);
  expect(slowest(during) - usualMs).toBeLessThan(LATE_MS);
  if (!cluster) throw new Error('no cluster');
  for (const workerId of ['worker-0', 'worker-1']) await quiet(cluster, workerId);
  await until(async () => (await cluster?.routerMetric('kvcapsule_router_ledger_away')) === 0, 30_000);
  const ready = await fetch(`${cluster.url}/health/ready`);
  expect(await ready.json()).toMatchObject({ status: 'ready' });
}

/** What the router says while it serves without its store. */
async function expectDegraded(): Promise<void> {
  const ready = await fetch(`${cluster?.url}/health/ready`);
  expect([ready.status, await ready.json()]).toMatchObject([
    200,
    { status: 'degraded', reasons: [expect.stringMatching(/^Redis does not answer/)] },
  ]);
  const provisional = 'kvcapsule_router_reservations_total{outcome="provisional"}';
  expect(await cluster?.routerMetric(provisional)).toBeGreaterThan(0);
}

describe('a worker without room while its store is away', () => {
  it(
    'refuses what would pass its capacity, and every request is answered in its turn',
    { timeout: 180_000 },
    async () => {
      cluster = await Cluster.start({ workerArgs: ['--pool-mib', '12'] });
      const on = cluster;
      await on.store.servers[0]?.kill();
      const answers = Array.from({ length: 24 }, async (_, index) => {
        const messages = [ask(`${index} `.repeat(150))];
        const body = { model: 'emoji-vlm', stream: true, max_tokens: 60, ignore_eos: true, messages };
        const response = await on.chat(body);
        return [response.status, events(await response.text()).at(-1)];
      });
      expect(new Set((await Promise.all(answers)).map(String))).toEqual(new Set(['200,[DONE]']));
      const leases = (outcome: string) =>
        on.workerMetric(0, `kvcapsule_worker_leases_total{kind="provisional",outcome="${outcome}"}`);
      expect([await leases('taken'), (await leases('refused')) > 0]).toEqual([24, true]);
      await on.restartStore();
      await quiet(on);
    },
  );
});

describe('every request is answered, and hardly later, under load and with a store that', () => {
  it('is paused for five seconds', { timeout: 180_000 }, async () => {
    const result = await under(async ({ server, load }) => {
      await server.say('CLIENT PAUSE 5000 ALL');
      await sleep(1_000);
      await expectDegraded();
      await sleep(4_000);
      await load.more(1);
    });
    await expectServed(result);
  });

  it('stands still for longer than its records live', { timeout: 180_000 }, async () => {
    const result = await under(async ({ server }) => {
      await server.pause();
      await sleep(10_000);
      await expectDegraded();
      await server.resume();
      await sleep(3_000);
    });
    await expectServed(result);
  });

  it.each([
    ['has become a replica', 'REPLICAOF 127.0.0.1 1', 'REPLICAOF NO ONE'],
    ['has too few replicas', 'CONFIG SET min-replicas-to-write 1', 'CONFIG SET min-replicas-to-write 0'],
  ])(
    '%s, which reads and does not write, for longer than its records live',
    { timeout: 180_000 },
    async (_fault, refuse, allow) => {
      const result = await under(async ({ server, load }) => {
        await server.say(refuse);
        await sleep(10_000);
        await expectDegraded();
        await load.more(10);
        await expectDegraded();
        await server.say(allow);
        await sleep(3_000);
      });
      await expectServed(result);
    },
  );

  it('answers after two seconds', { timeout: 180_000 }, async () => {
    const result = await under(async ({ proxy }) => {
      proxy.set('slow', 1_000);
      await sleep(8_000);
      await expectDegraded();
      proxy.set('passing');
      await sleep(2_000);
    });
    await expectServed(result);
  });

  it('is silent, then refuses connections', { timeout: 180_000 }, async () => {
    const result = await under(async ({ proxy }) => {
      for (const fault of ['silent', 'refusing'] as const) {
        proxy.set(fault);
        await sleep(5_000);
        await expectDegraded();
      }
      proxy.set('passing');
      await sleep(2_000);
    });
    await expectServed(result);
  });

  it('is killed and comes back empty', { timeout: 180_000 }, async () => {
    const result = await under(async ({ server }) => {
      await server.kill();
      await sleep(3_000);
      await expectDegraded();
      const again = await startServer({ password: 'of-the-tests', port: server.port });
      ended.push(() => again.stop());
      await sleep(4_000);
    });
    await expectServed(result);
  });

  it('closes every connection each second, and forgets its scripts', { timeout: 180_000 }, async () => {
    const result = await under(async ({ server }) => {
      for (let second = 0; second < 6; second += 1) {
        await server.say('SCRIPT FLUSH');
        await server.say('CLIENT KILL TYPE normal SKIPME yes');
        await sleep(1_000);
      }
    });
    await expectServed(result);
  });

  it('has no memory left', { timeout: 180_000 }, async () => {
    const result = await under(async ({ server, load }) => {
      await server.say('CONFIG SET maxmemory 1');
      await load.more(20);
      await expectDegraded();
      await server.say('CONFIG SET maxmemory 0');
      await sleep(1_000);
    });
    await expectServed(result);
  });
});
