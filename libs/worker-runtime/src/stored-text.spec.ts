import type { Codec } from '@kvcapsule/engine';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { FakeEngine } from '@kvcapsule/testing/engine';
import { generateOf, type Rig, type RigOptions, RouterSide, startRig } from './testing/harness.js';

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 120_000 });

/** Runs of 64 tokens in 17 pages of 64 bytes instead of 32, and a profile for pictures of 40. */
const ROWS = [
  { tokens: 0, bytesPerToken: 17 },
  { tokens: 40, pages: 3 },
] as const;
/** For requests that must not end by themselves. */
const ENDLESS = { stopTokenIds: new Set<number>() };

const rigs: Rig[] = [];

async function rigOf(options: RigOptions): Promise<Rig> {
  const rig = await startRig(options);
  rigs.push(rig);
  return rig;
}

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

const text = (count: number, first = 0): number[] =>
  Array.from({ length: count }, (_, at) => 4 + ((first + at) % 50));

function expectNothingLeft({ worker }: Rig): void {
  const { pool } = worker.serving.scheduler;
  expect(pool.freePages).toBe(pool.capacityPages);
}

describe('answers over stored text', () => {
  it('are the same whatever the batch, the chunks and the cache', async () => {
    const roomy = await rigOf({ engine: new FakeEngine(256, ROWS), config: { maxRunning: 1 } });
    const engine = new FakeEngine(20, ROWS);
    const tight = await rigOf({ engine, config: { maxStepTokens: 23, maxPrefillChunk: 9 } });
    const [alone, together] = [new RouterSide(roomy.client), new RouterSide(tight.client)];
    const all = Array.from({ length: 14 }, (_, index) =>
      generateOf({
        id: `r${index}`,
        parts: [text(3 + 11 * (index % 6), index % 3), ...(index % 2 ? [{ tokens: 40, mark: index }] : [])],
        kvCodec: 'q8',
        maxTokens: 90 + index,
        ...(index % 4 === 3 ? { seed: BigInt(index) } : {}),
      }),
    );
    for (const generate of all) together.send(generate);
    for (const generate of all) {
      // never before on this worker: nothing of it is cached
      const expected = await alone.ask({ ...generate, cacheSalt: generate.requestId });
      const answer = await together.answer(generate.requestId);
      expect(answer).toMatchObject({
        error: undefined,
        tokenIds: expected.tokenIds,
        finished: { reason: expected.finished?.reason, usage: { kv: expected.finished?.usage?.kv } },
      });
    }
    expect(tight.worker.serving.scheduler.counters.preemptions).toBeGreaterThan(0);
    expectNothingLeft(tight);
  });

  it('report stored text, and find it again', async () => {
    const rig = await rigOf({ engine: new FakeEngine(64, ROWS) });
    const router = new RouterSide(rig.client);
    const parts = [text(140)];
    const ask = (id: string, kvCodec: string) => router.ask(generateOf({ id, parts, kvCodec, maxTokens: 5 }));
    const [raw, cold, warm] = [await ask('a', 'raw'), await ask('b', 'q8'), await ask('c', 'q8')];
    expect(raw.finished?.usage?.kv).toMatchObject({ codec: 'raw', bytes: 9n * 512n });
    // two runs and a raw block
    const stored = { codec: 'q8', bytes: 2n * 17n * 64n + 512n, rawBytes: 140n * 32n };
    expect([cold, warm].map(({ finished }) => finished?.usage?.kv)).toMatchObject([stored, stored]);
    // raw blocks under the first run's end are the same under both codecs
    expect([cold, warm].map(({ finished }) => finished?.usage?.cachedTokens)).toEqual([63, 139]);
    expect(warm.text).toBe(cold.text);
    expectNothingLeft(rig);
  });
});

describe('text under pressure', () => {
  const run = async (kvCodec: string, swapPages = 0, textUnderPressure: Codec = 'q8') => {
    const rig = await rigOf({
      ...{ ...ENDLESS, engine: new FakeEngine(20, ROWS), codec: 'raw' },
      config: { swapPages, textUnderPressure },
    });
    const router = new RouterSide(rig.client);
    const all = Array.from({ length: 3 }, (_, index) =>
      generateOf({ id: `r${index}`, parts: [[10 + index]], kvCodec, maxTokens: 120 }),
    );
    const answers = await Promise.all(all.map((generate) => router.ask(generate)));
    for (const { finished } of answers) expect(finished?.usage?.completionTokens).toBe(120);
    expectNothingLeft(rig);
    return rig.worker.serving.scheduler.counters;
  };

  it('is stored before anybody is preempted, but none of a request that names its codec', async () => {
    const pressed = await run('');
    expect(pressed.textRecompressions).toBeGreaterThan(0);
    expect(pressed).toMatchObject({ swapsOut: 0, preemptions: 0 });
    const named = await run('raw');
    expect(named.textRecompressions).toBe(0);
    expect(named.preemptions).toBeGreaterThan(0);
  });

  it('is left as it is where nobody asked for that', async () => {
    const preempted = await run('', 0, 'raw');
    expect(preempted.textRecompressions).toBe(0);
    expect(preempted.preemptions).toBeGreaterThan(0);
  });

  it('is left as it is where pages may be moved instead', async () => {
    const moved = await run('', 1_000);
    expect(moved).toMatchObject({ textRecompressions: 0, preemptions: 0 });
    expect(moved.swapsOut).toBeGreaterThan(0);
  });
});
