import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CoreWorker } from '../testing/core-worker.js';
import { FakeWorker } from '../testing/fake-worker.js';
import { Harness, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';
import { Owners } from './owners.service.js';

const router = new Harness();
const beside = new Harness(router.ports);
const cores = Array.from({ length: 3 }, () => new CoreWorker({ blocks: 40 }));

beforeAll(async () => {
  // how fast a worker is on a busy machine, and what is left of the request before, decide nothing here
  await router.start({ placementWeights: { load: 0, pace: 0 } }, 0);
  for (const [at, core] of cores.entries()) {
    const worker = new FakeWorker();
    worker.script = core.script;
    worker.cacheLog = core.serving.cacheLog;
    await worker.start();
    router.workers.push(worker);
    router.ports.workers.push(workerRecord(`w${at}`, worker.address, core.record));
  }
  await beside.start({ placementWeights: { load: 0, pace: 0 } }, 0);
  for (const { app, fleet } of [router, beside]) {
    await fleet.refresh();
    const owners = app.get(Owners);
    await until(() => cores.every((_, at) => owners.numberOf(`w${at}`) !== undefined));
  }
});
afterAll(async () => {
  await beside.stop();
  await router.stop();
});

/** Everything that the workers hold is known. */
async function told(): Promise<void> {
  const held = () => cores.reduce((sum, { serving }) => sum + [...serving.cacheLog.items()].length, 0);
  for (const { app } of [router, beside]) await until(() => app.get(Owners).index.pairs === held());
}

const computed = () => cores.reduce((sum, { serving }) => sum + serving.pictures.computed, 0);

type Part = string | { readonly shows: string };

const ask = (...parts: readonly Part[]) => askThrough(router, ...parts);

async function askThrough(through: Harness, ...parts: readonly Part[]): Promise<number> {
  const content = parts.map((part) =>
    typeof part === 'string'
      ? { type: 'text', text: part }
      : { type: 'image_url', image_url: { url: `data:image/png,${part.shows}` } },
  );
  const response = await through.chat(content, { max_tokens: 1, temperature: 0 });
  const body = (await response.json()) as { usage: { prompt_tokens_details: { cached_tokens: number } } };
  expect(response.status, JSON.stringify(body)).toBe(200);
  await told();
  return body.usage.prompt_tokens_details.cached_tokens;
}

it('sends a conversation to where its pictures are held, whatever was asked in between', async () => {
  const about = (picture: string) => [`About ${picture}, please: `, { shows: picture }] as const;
  const pictures = ['a1', 'b2', 'c3', 'd4'];
  for (const picture of pictures) expect(await ask(...about(picture), 'what is this?')).toBeLessThan(16);
  const received = () => router.workers.map((worker) => worker.received.length);
  const before = received();
  for (const picture of [...pictures].reverse()) {
    // the text before the picture, and the picture
    expect(await ask(...about(picture), 'and what is beside it?')).toBeGreaterThanOrEqual(22);
  }
  expect(before.reduce((sum, count) => sum + count)).toBe(4);
  expect(computed()).toBe(4);
});

it('sends requests that come together with a new picture to one worker, which computes it once', async () => {
  const before = computed();
  for (const picture of ['together-1', 'together-2', 'together-3']) {
    const asked = Array.from({ length: 6 }, (_, at) => ask('See: ', { shows: picture }, `question ${at}`));
    await Promise.all(asked);
  }
  expect(computed() - before).toBe(3);
});

describe('through two routers', () => {
  const nothingComes = () => {
    const { coming } = beside.app.get(Owners);
    coming.forgetTold(performance.now());
    return coming.size === 0;
  };
  const slow = (delayMs: number) => {
    for (const core of cores) core.delayMs = delayMs;
  };
  afterEach(() => {
    slow(0);
  });

  it('sends requests for a picture that a worker computes for the other router to that worker', async () => {
    const before = computed();
    const { coming } = beside.app.get(Owners);
    slow(300);
    for (const picture of ['elsewhere-1', 'elsewhere-2']) {
      const first = ask('See: ', { shows: picture }, 'what is it?');
      await until(() => coming.size > 0);
      const later = ['a', 'b', 'c'].map((question) =>
        askThrough(beside, 'See: ', { shows: picture }, question),
      );
      await Promise.all([first, ...later]);
      await until(nothingComes);
    }
    expect(computed() - before).toBe(2);
  });

  it('has one computed that comes to both at once by one worker for each router at most', async () => {
    const before = computed();
    const pictures = Array.from({ length: 6 }, (_, at) => `both-${at}`);
    for (const picture of pictures) {
      await Promise.all(
        [router, beside, router, beside].map((each, at) =>
          askThrough(each, 'See: ', { shows: picture }, `question ${at}`),
        ),
      );
    }
    const count = computed() - before;
    expect([count >= 6, count <= 12]).toEqual([true, true]);
  });

  it('waits for nothing from a request that its client has given up', async () => {
    const { coming } = beside.app.get(Owners);
    await until(nothingComes);
    slow(300);
    const client = new AbortController();
    const content = [{ type: 'image_url', image_url: { url: 'data:image/png,given-up' } }];
    const messages = [{ role: 'user', content }];
    const given = router.post({ model: 'demo', messages }, { signal: client.signal });
    given.catch(() => undefined);
    await until(() => coming.size > 0);
    client.abort();
    await until(nothingComes);
  });
});
