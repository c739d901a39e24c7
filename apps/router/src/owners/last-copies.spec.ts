import { afterAll, beforeAll, expect, it } from 'vitest';
import { CoreWorker } from '../testing/core-worker.js';
import { FakeWorker } from '../testing/fake-worker.js';
import { Harness, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';
import { Owners } from './owners.service.js';

const BLOCKS = 24;
/** Of 33 tokens each, two blocks: so many fill a pool. */
const FILLING = BLOCKS / 2;

const router = new Harness();
const cores = ['last', 'copy-1', 'copy-2'].map((id) => ({ id, core: new CoreWorker({ blocks: BLOCKS }) }));
const records = new Map<string, ReturnType<typeof workerRecord>>();

/** Only these are to be had. */
async function list(...ids: readonly string[]): Promise<void> {
  router.ports.workers.splice(0, Infinity, ...ids.flatMap((id) => records.get(id) ?? []));
  await router.fleet.refresh();
  const owners = router.app.get(Owners);
  await until(() => ids.every((id) => owners.numberOf(id) !== undefined));
}

async function ask(text: string): Promise<void> {
  const response = await router.chat([{ type: 'text', text }], { max_tokens: 1, temperature: 0 });
  expect(response.status, await response.clone().text()).toBe(200);
}

async function fill(what: string): Promise<void> {
  for (let at = 0; at < FILLING; at += 1) await ask(`${what} ${at} `.padEnd(33, '.'));
}

const received = () => router.workers.map((worker) => worker.received.length);

async function asked(prompts: readonly string[]): Promise<number[]> {
  const before = received();
  for (const prompt of prompts) await ask(prompt.padEnd(33, '-'));
  return received().map((count, at) => count - (before[at] ?? 0));
}

beforeAll(async () => {
  // how fast a worker is on a busy machine, and what is left of the request before, decide nothing here
  await router.start({ placementWeights: { load: 0, pace: 0 } }, 0);
  for (const { id, core } of cores) {
    const worker = new FakeWorker();
    worker.script = core.script;
    worker.cacheLog = core.serving.cacheLog;
    await worker.start();
    router.workers.push(worker);
    records.set(id, workerRecord(id, worker.address, core.record));
  }
});
afterAll(() => router.stop());

it('spares a worker whose pool is full of last copies, where others have copies to give up', async () => {
  for (const { id } of cores) {
    await list(id);
    await fill(id === 'last' ? 'alone' : 'both');
  }
  const { index } = router.app.get(Owners);
  await list(...cores.map(({ id }) => id));
  await until(() => index.pairs >= 3 * 2 * (FILLING - 1));
  const counts = await asked(Array.from({ length: 4 }, (_, at) => `new ${at}`));
  expect(counts[0]).toBe(0);
  expect(counts.reduce((sum, count) => sum + count)).toBe(4);
});
