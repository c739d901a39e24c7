import fc from 'fast-check';
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, events, killPart, type Part, picture, quiet, until } from './harness.js';

const LONG = { model: 'emoji-vlm', temperature: 1, seed: 1, max_tokens: 2000, messages: [ask('Hello!')] };

/** Starts a stream and waits for its first event. */
async function openStream(
  cluster: Cluster,
  signal?: AbortSignal,
): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const response = await cluster.chat({ ...LONG, stream: true }, signal === undefined ? {} : { signal });
  expect(response.status).toBe(200);
  const reader = response.body?.getReader();
  if (reader === undefined) throw new Error('no body');
  await reader.read();
  return reader;
}

async function rest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text;
    text += decoder.decode(value, { stream: true });
  }
}

const ABORTS = process.env['KVCAPSULE_TEST_FULL'] === '1' ? 10_000 : 1_000;
/** What a process may hold beside what it held when it was ready: its connections to the others. */
const SPARE = 4;

/** How many files, sockets and pipes a process holds. */
function descriptors({ process: { pid } }: Part): number {
  return readdirSync(`/proc/${String(pid)}/fd`).length;
}

describe('faults', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start();
  }, 120_000);
  afterAll(() => cluster.stop());

  it(`frees every page, lease and socket after ${ABORTS} requests aborted at random`, async () => {
    const abort = fc.record({
      afterMs: fc.integer({ min: 0, max: 300 }),
      stream: fc.boolean(),
      withPicture: fc.boolean(),
      name: fc.constantFrom('a', 'b', 'c'),
    });
    const plans = fc.sample(abort, { numRuns: ABORTS, seed: 5 });
    const processes = [cluster.router, ...cluster.workers];
    const before = processes.map(descriptors);
    let next = 0;
    let cut = 0;
    const client = async (): Promise<void> => {
      for (let plan = plans[next++]; plan !== undefined; plan = plans[next++]) {
        const message = plan.withPicture ? ask('Describe the image.', picture(plan.name)) : ask('Hello!');
        const body = { ...LONG, messages: [message], stream: plan.stream };
        const signal = AbortSignal.timeout(plan.afterMs);
        await cluster
          .chat(body, { signal })
          .then((response) => response.text())
          .catch(() => cut++);
      }
    };
    await Promise.all(Array.from({ length: 16 }, client));
    expect(cut).toBeGreaterThan(ABORTS / 2);
    await quiet(cluster);
    // connections that clients keep are closed by the router after 75 idle seconds
    await until(() => processes.every((part, i) => descriptors(part) <= (before[i] ?? 0) + SPARE), 120_000);
    expect((await cluster.chat({ ...LONG, max_tokens: 3 })).status).toBe(200);
  }, 1_200_000);

  it('goes on with its streams when a worker that was killed is back, and serves again', async () => {
    const worker = cluster.workers[0];
    if (worker === undefined) throw new Error('no worker');
    const readers = await Promise.all([openStream(cluster), openStream(cluster)]);
    const killedAt = Date.now();
    await killPart(worker);
    const refused = await cluster.chat({ ...LONG, max_tokens: 3 });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).not.toBeNull();
    // its record lives for six seconds more
    expect(Date.now() - killedAt).toBeLessThan(10_000);
    cluster.workers[0] = await cluster.startWorker(0);
    for (const reader of readers) expect(events(await rest(reader)).at(-1)).toBe('[DONE]');
    await until(async () => (await cluster.chat({ ...LONG, max_tokens: 3 })).status === 200, 60_000);
    await quiet(cluster);
  }, 180_000);

  it('outlives Redis: streams end, new requests are answered, accounts are whole after its return', async () => {
    const reader = await openStream(cluster);
    await cluster.store.servers[0]?.kill();
    const during = await cluster.chat({ ...LONG, max_tokens: 3 });
    expect(during.status).toBe(200);
    await during.text();
    const seen = events(await rest(reader));
    expect(seen.at(-1)).toBe('[DONE]');
    await cluster.restartStore();
    expect((await cluster.chat({ ...LONG, max_tokens: 3 })).status).toBe(200);
    await quiet(cluster);
  }, 90_000);

  it('drains on SIGTERM: the running stream ends by itself, then the worker leaves with code 0', async () => {
    const second = await cluster.startWorker(1);
    const reader = await openStream(cluster);
    const worker = cluster.workers[0];
    if (worker === undefined) throw new Error('no worker');
    const gone = new Promise<number | null>((resolve) => worker.process.once('exit', resolve));
    worker.process.kill('SIGTERM');
    const seen = events(await rest(reader));
    expect(seen.at(-1)).toBe('[DONE]');
    expect(await gone).toBe(0);
    expect((await cluster.chat({ ...LONG, max_tokens: 3 })).status).toBe(200);
    cluster.workers[0] = second;
  }, 180_000);
});
