import { afterAll, beforeAll, expect, it } from 'vitest';
import { CoreWorker } from '../testing/core-worker.js';
import { FakeWorker } from '../testing/fake-worker.js';
import { Harness, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';
import { Owners } from './owners.service.js';

const router = new Harness();
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
  await router.fleet.refresh();
  const owners = router.app.get(Owners);
  await until(() => cores.every((_, at) => owners.numberOf(`w${at}`) !== undefined));
});
afterAll(() => router.stop());

/** Everything that the workers hold is known. */
async function told(): Promise<void> {
  const { index } = router.app.get(Owners);
  const held = () => cores.reduce((sum, { serving }) => sum + [...serving.cacheLog.items()].length, 0);
  await until(() => index.pairs === held());
}

async function ask(...parts: readonly (string | { readonly shows: string })[]): Promise<number> {
  const content = parts.map((part) =>
    typeof part === 'string'
      ? { type: 'text', text: part }
      : { type: 'image_url', image_url: { url: `data:image/png,${part.shows}` } },
  );
  const response = await router.chat(content, { max_tokens: 1, temperature: 0 });
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
  expect(cores.reduce((sum, { serving }) => sum + serving.pictures.computed, 0)).toBe(4);
});

it('sends requests that come together with a new picture to one worker, which computes it once', async () => {
  const computed = () => cores.map(({ serving }) => serving.pictures.computed);
  const before = computed();
  for (const picture of ['together-1', 'together-2', 'together-3']) {
    const asked = Array.from({ length: 6 }, (_, at) => ask('See: ', { shows: picture }, `question ${at}`));
    await Promise.all(asked);
  }
  const more = computed().map((count, at) => count - (before[at] ?? 0));
  expect(more.reduce((sum, count) => sum + count)).toBe(3);
});
