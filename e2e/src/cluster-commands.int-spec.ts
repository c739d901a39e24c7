import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, events, picture, ROOT, until } from './harness.js';

const MAIN = join(ROOT, 'apps/cli/dist/main.js');
const LONG = {
  ...{ model: 'emoji-vlm', stream: true, temperature: 1, ignore_eos: true, messages: [ask('Hello!')] },
  max_tokens: 1_200,
};

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({ workers: 2 });
}, 120_000);
afterAll(() => cluster.stop());

/** What a command of the CLI prints, and what it ends with. */
async function kvcapsule(...args: readonly string[]): Promise<{ code: number; text: string }> {
  const env = { ...process.env, NO_COLOR: '1' };
  const child = spawn(process.execPath, [MAIN, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (text += data.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, text };
}

const at = () => ['--url', cluster.url];
const stateOf = async (worker: string) => {
  const { text } = await kvcapsule('status', '--json', ...at());
  return ClusterSnapshot.parse(JSON.parse(text)).workers.find(({ id }) => id === worker)?.state;
};

describe('status and inspect', () => {
  it('show workers, a request with its placement, a pool and the ledger', async () => {
    const body = { model: 'emoji-vlm', messages: [ask('What is at D2?', picture('a'))] };
    const response = await cluster.chat(body, {
      headers: { 'content-type': 'application/json', 'x-request-id': 'seen-1' },
    });
    expect(response.status).toBe(200);
    const { text } = await kvcapsule('status', ...at());
    expect(text).toMatch(/workers: 2 ready/);
    expect(text).toMatch(/worker-0 +emoji-vlm +ready +0\/64/);
    const seen = await kvcapsule('inspect', 'request', 'seen-1', ...at());
    expect(seen.text).toMatch(/state +finished\n/);
    const worker = /worker +(worker-\d)\n/.exec(seen.text)?.[1] ?? '';
    expect(seen.text).toMatch(new RegExp(`\n${worker} +\\d+ +\\w+ +0/\\d+ .* capsule-mixed`));
    expect((await kvcapsule('inspect', 'worker', worker, ...at())).text).toMatch(/pages +\d+ of /);
    const pages = (await kvcapsule('inspect', 'pages', worker, ...at())).text;
    expect(pages).toMatch(/c cached [1-9]/);
    const store = ['--redis', cluster.store.settings.redis];
    const ledger = await kvcapsule('inspect', 'ledger', ...store);
    expect(ledger.text).toMatch(/worker-1 +\d+ +\d+ +0 +0 +\d+ +0 +right/);
  }, 120_000);

  it('end with 1 and say what there is where there is no such thing', async () => {
    const [request, worker, nobody] = await Promise.all([
      kvcapsule('inspect', 'request', 'nothing', ...at()),
      kvcapsule('inspect', 'worker', 'x', ...at()),
      kvcapsule('status', '--url', 'http://127.0.0.1:1'),
    ]);
    expect([request.code, worker.code, nobody.code]).toEqual([1, 1, 1]);
    expect(worker.text).toContain('worker-0, worker-1');
    expect(nobody.text).toContain('Nothing answers at');
  }, 120_000);
});

describe('drain', () => {
  it('lets every answer end, waits for it, holds while the router starts anew, and can be undone', async () => {
    const responses = await Promise.all(
      Array.from({ length: 4 }, (_, seed) => cluster.chat({ ...LONG, seed, user: `user-${String(seed)}` })),
    );
    const bodies = responses.map((response) => response.text());
    await until(async () => (await cluster.workerMetric(0, 'kvcapsule_worker_requests_running')) > 0, 60_000);

    const { code, text } = await kvcapsule('drain', 'worker-0', ...at());
    expect(text).toMatch(/^worker-0 takes no more requests: \d+ running.*\n(.*\n)*worker-0 is empty\n$/);
    expect(code).toBe(0);
    expect(await cluster.workerMetric(0, 'kvcapsule_worker_requests_running')).toBe(0);
    expect((await Promise.all(bodies)).map((body) => events(body).at(-1))).toEqual(
      bodies.map(() => '[DONE]'),
    );

    await cluster.restartRouter();
    expect(await stateOf('worker-0')).toBe('draining');
    const before = await cluster.workerMetric(0, 'kvcapsule_worker_requests_started_total');
    const short = { ...LONG, stream: false, max_tokens: 2 };
    const later = await Promise.all(Array.from({ length: 8 }, () => cluster.chat(short)));
    expect(later.map(({ status: answered }) => answered)).toEqual(later.map(() => 200));
    expect(await cluster.workerMetric(0, 'kvcapsule_worker_requests_started_total')).toBe(before);

    expect((await kvcapsule('drain', 'worker-0', '--undo', ...at())).text).toBe(
      'worker-0 takes requests again\n',
    );
    expect(await stateOf('worker-0')).toBe('ready');
  }, 240_000);

  it('ends with 1 where there is no such worker', async () => {
    const nobody = await kvcapsule('drain', 'nobody', ...at());
    expect([nobody.code, nobody.text]).toEqual([1, expect.stringContaining('no worker of this id')]);
  }, 120_000);
});
