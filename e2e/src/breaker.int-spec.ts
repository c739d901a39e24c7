import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Ground } from './chaos/ground.js';
import { ask, sampleOf, until } from './harness.js';

/** More than a connection has sent before its first request, and less than with it. */
const CUT_BYTES = 1_200;

/** Ends a hang; a busy machine takes seconds for what takes a tenth of one. */
const PATIENCE_MS = 180_000;

let ground: Ground;
beforeAll(async () => {
  ground = await Ground.start({ routers: 1, workers: 2, poolMib: 32 });
}, PATIENCE_MS);
afterAll(() => ground.stop());

let requests = 0;

const post = (path: string, more: object = {}): Promise<Response> => {
  requests += 1;
  const words = Array.from({ length: 400 }, (_, index) => `w${requests} ${index}`).join(' ');
  return fetch(`${ground.routers[0]?.part.ready['url']}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-kvcapsule-receipt': '1' },
    body: JSON.stringify({ model: 'emoji-vlm', max_tokens: 4, messages: [ask(words)], ...more }),
  });
};

/** Who has answered, which somebody has to. */
async function answerer(): Promise<string | null> {
  const response = await post('/v1/chat/completions');
  const body = await response.text();
  expect(response.status, body).toBe(200);
  return response.headers.get('x-kvcapsule-worker');
}

async function metric(name: string): Promise<number> {
  const response = await fetch(`${ground.routers[0]?.part.ready['url']}/metrics`);
  return sampleOf(await response.text(), `kvcapsule_router_${name}`);
}

const breakers = (state: string): Promise<number> => metric(`worker_breakers{state="${state}"}`);
/** Attempts in vain so far. */
const restarts = (): Promise<number> => metric('failovers_total{outcome="restarted"}').catch(() => 0);

/** Several at once, so that some come to each worker. Resolves to who has answered. */
async function askSome(): Promise<(string | null)[]> {
  const responses = await Promise.all(Array.from({ length: 4 }, () => post('/v1/chat/completions')));
  await Promise.all(responses.map((response) => response.text()));
  return responses.map(({ headers }) => headers.get('x-kvcapsule-worker'));
}

/** So many breakers are open, or were and wait for the next request. */
async function untilOpen(count: number): Promise<void> {
  await until(async () => {
    await askSome();
    return (await breakers('closed')) === 2 - count;
  }, PATIENCE_MS);
}

describe('a worker whose connections break under every request', () => {
  it(
    'is left alone for longer and longer while another one answers, and comes back when it does better',
    async () => {
      const [first] = ground.workers;
      first?.inbound?.set('cutting', CUT_BYTES);
      await untilOpen(1);
      // its connection, which is lost each time as well, stands again sooner
      await until(async () => {
        expect(new Set(await askSome())).toEqual(new Set(['worker-1']));
        const response = await post('/v1/placement/explain');
        const { rejected } = (await response.json()) as { rejected: { worker: string; filter: string }[] };
        return rejected.some(({ worker, filter }) => worker === 'worker-0' && filter === 'breaker');
      }, PATIENCE_MS);
      const before = await restarts();
      for (const endMs = performance.now() + 10_000; performance.now() < endMs; await sleep(20))
        expect(await answerer()).toBe('worker-1');
      // after half a second to one, one to two, two to four, four to eight
      expect((await restarts()) - before).toBeLessThanOrEqual(5);
      expect(await metric('breaker_openings_total')).toBeGreaterThan(1);
      first?.inbound?.set('passing');
      const back: (string | null)[] = [];
      await until(async () => {
        back.push(await answerer());
        return back.includes('worker-0') && (await breakers('closed')) === 2;
      }, PATIENCE_MS);
    },
    3 * PATIENCE_MS,
  );

  it(
    'is asked at once when all are such, and they do better again',
    async () => {
      const ways = ground.workers.map(({ inbound }) => inbound);
      for (const way of ways) way?.set('cutting', CUT_BYTES);
      await untilOpen(2);
      for (const way of ways) way?.set('passing');
      // connections are looked for every two seconds at the latest; breakers are open for as long as a minute
      await until(async () => (await post('/v1/chat/completions')).status === 200, PATIENCE_MS);
    },
    3 * PATIENCE_MS,
  );
});
