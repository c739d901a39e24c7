import { DRAWN_BEFORE, greedySample, type ModelInput } from '@kvcapsule/domain/model-input';
import type { PageChange } from '@kvcapsule/domain/scheduling';
import type { NativeEngineInfo } from '@kvcapsule/engine';
import { buildPlan } from '@kvcapsule/engine/plan';
import { beforeEach, describe, expect, it } from 'vitest';

import type { Clock } from './engine-time.js';
import { TimedEngine, type TimedEngineOptions } from './timed-engine.js';

const INFO: NativeEngineInfo = {
  ...{ vocab: 64, contextTokens: 128, imageTokenId: 3, tokensPerTile: 16, featureBytes: 4, layers: 1 },
  ...{ heads: 1, kvHeads: 1, headDim: 8, blockTokens: 16, pagesPerBlock: 8, blockBytes: 512, pageBytes: 64 },
  weightBytes: 0,
  formats: [
    {
      ...{ codec: 'q8', profileId: '', profileFile: -1, tokens: 0, markerRows: new Int32Array(), pages: 0 },
      ...{ bytes: 0, bytesPerToken: 8, headerBytes: 8, macsShare: 1 },
    },
  ],
};
const COSTS = {
  ...{ stepMs: 2, prefillRowMs: 1, decodeRowMs: 0.5, prefillAttendedMs: 0, decodeAttendedMs: 0 },
  ...{ pictureMs: 20, tileMs: 5 },
};

/** Jumps to whatever time is waited for. */
class JumpingClock implements Clock {
  now = 0;

  nowMs(): number {
    return this.now;
  }

  async until(atMs: number): Promise<void> {
    await Promise.resolve();
    this.now = Math.max(this.now, atMs);
  }
}

let clock: JumpingClock;
let engine: TimedEngine;
const engineWith = (more: Partial<TimedEngineOptions> = {}) =>
  new TimedEngine({
    ...{ info: INFO, poolBlocks: 8, costs: COSTS, speedup: 1, clock },
    answers: { ordinary: [10, 11, 12, 13, 14, 15], end: 2, meanTokens: Infinity },
    imageTokens: (widthPx, heightPx) => (widthPx * heightPx) / 16,
    ...more,
  });
beforeEach(() => {
  clock = new JumpingClock();
  engine = engineWith();
});

interface Rows {
  readonly slot: number;
  readonly segment?: number;
  readonly first: number;
  readonly tokens: readonly number[];
  readonly features?: { readonly handle: number; readonly rows: readonly number[] };
}

function input(changes: readonly PageChange[], ...rows: Rows[]): ModelInput {
  let end = 0;
  const samples = rows.map(({ tokens }) => greedySample((end += tokens.length) - 1));
  const chunks = rows.map(({ first, segment = 0, ...chunk }) => ({
    ...{ ...chunk, segment, firstIndex: first, firstPosition: first },
  }));
  return { changes, chunks, samples };
}
const run = async (changes: readonly PageChange[], ...rows: Rows[]): Promise<number[]> => [
  ...(await engine.step(buildPlan(input(changes, ...rows)))).tokens,
];
const text = (count: number): number[] => Array.from({ length: count }, (_, at) => 10 + ((at * 7) % 40));
const opening = (slot: number, ...blocks: number[]): PageChange[] => [
  { kind: 'open', slot },
  { kind: 'segment', slot },
  { kind: 'blocks', slot, segment: 0, blocks },
];

describe('the tokens of a timed engine', () => {
  it('depend on what is before them, however it came there', async () => {
    const [whole] = await run(opening(0, 0, 1), { slot: 0, first: 0, tokens: text(30) });
    const parts = [
      await run(opening(1, 2, 3), { slot: 1, first: 0, tokens: text(12) }),
      await run([], { slot: 1, first: 12, tokens: text(30).slice(12) }),
    ];
    expect(parts[1]).toEqual([whole]);
    const attached: PageChange[] = [
      ...opening(2),
      { kind: 'attachBlocks', slot: 2, segment: 0, tokens: 16, blocks: [0] },
      { kind: 'blocks', slot: 2, segment: 0, blocks: [4] },
    ];
    expect(await run(attached, { slot: 2, first: 16, tokens: text(30).slice(16) })).toEqual([whole]);
  });

  it('go on from blocks that are attached behind computed rows', async () => {
    const [expected] = await run(opening(0, 0, 1, 2), { slot: 0, first: 0, tokens: text(33) });
    await run(opening(1, 4), { slot: 1, first: 0, tokens: text(16) });
    const behind: PageChange[] = [
      { kind: 'attachBlocks', slot: 1, segment: 0, tokens: 16, blocks: [1] },
      { kind: 'blocks', slot: 1, segment: 0, blocks: [5] },
    ];
    expect(await run(behind, { slot: 1, first: 32, tokens: text(33).slice(32) })).toEqual([expected]);
  });

  it('are others after other content', async () => {
    const whole = await run(opening(0, 0, 1), { slot: 0, first: 0, tokens: text(30) });
    const other = [9, ...text(30).slice(1)];
    expect(await run(opening(1, 2, 3), { slot: 1, first: 0, tokens: other })).not.toEqual(whole);
  });

  it('are taken for rows that a plan leaves to the step before', async () => {
    const [first = 0] = await run(opening(0, 0), { slot: 0, first: 0, tokens: text(5) });
    const second = await run([], { slot: 0, first: 5, tokens: [DRAWN_BEFORE] });
    await run(opening(1, 1), { slot: 1, first: 0, tokens: text(5) });
    expect(await run([], { slot: 1, first: 5, tokens: [first] })).toEqual(second);
    await expect(run([], { slot: 0, first: 6, tokens: [DRAWN_BEFORE] })).rejects.toThrow('nothing was drawn');
  });

  it('are the same over stored rows, and over pages that were away', async () => {
    await run(opening(0, 0), { slot: 0, first: 0, tokens: text(16) });
    await run(opening(1, 1), { slot: 1, first: 0, tokens: text(16) });
    const expected = await run([{ kind: 'blocks', slot: 0, segment: 0, blocks: [2] }], {
      ...{ slot: 0, first: 16, tokens: [20] },
    });
    const stored: PageChange = {
      ...{ kind: 'compress', slot: 1, segment: 0, format: 0, pages: [24, 25, 26], blocks: [], restRows: [] },
    };
    const next: PageChange[] = [
      stored,
      { kind: 'segment', slot: 1 },
      { kind: 'blocks', slot: 1, segment: 1, blocks: [4] },
    ];
    expect(await run(next, { slot: 1, segment: 1, first: 16, tokens: [20] })).toEqual(expected);
    const pages = Array.from({ length: 8 }, (_, page) => page);
    const bytes = await engine.readPages(Int32Array.from(pages));
    await engine.writePages(
      Int32Array.from(pages, (page) => 40 + page),
      bytes,
    );
    const back: PageChange[] = [
      ...opening(2),
      { kind: 'attachBlocks', slot: 2, segment: 0, tokens: 16, blocks: [5] },
      { kind: 'blocks', slot: 2, segment: 0, blocks: [6] },
    ];
    expect(await run(back, { slot: 2, first: 16, tokens: [20] })).toEqual(expected);
  });

  it('see every byte of a picture’s file', async () => {
    const answers = [];
    for (const [slot, file] of [Buffer.of(1, 2, 3), Buffer.of(1, 2, 3), Buffer.of(1, 2, 4)].entries()) {
      const { handle, tokens } = await engine.encodeImage(file, 16, 16);
      expect(tokens).toBe(16);
      const features = { handle, rows: Array.from({ length: 16 }, (_, row) => row) };
      const shown = { slot, first: 0, tokens: Array.from({ length: 16 }, () => 3), features };
      answers.push(...(await run(opening(slot, slot), shown)));
      await engine.releaseImage(handle);
    }
    expect(answers[1]).toBe(answers[0]);
    expect(answers[2]).not.toBe(answers[0]);
    expect(engine.pictures).toBe(0);
  });
});

describe('a timed engine refuses', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['a slot that is open', () => run([{ kind: 'open', slot: 0 }])],
    ['blocks that others use', () => run(opening(1, 0))],
    ['blocks beyond the pool', () => run(opening(1, 8))],
    ['a row at the wrong position', () => run([], { slot: 0, first: 4, tokens: [9] })],
    ['a row without room', () => run([], { slot: 0, first: 5, tokens: text(12) })],
    ['an attachment of what is not there', () => attach(1)],
    ['features that are not there', () => shown(77)],
    ['a second release', () => engine.releaseImage(1)],
    ['bytes that were never read', () => engine.writePages(Int32Array.of(0), new Uint8Array(64))],
  ])('%s', async (_, act) => {
    await run(opening(0, 0), { slot: 0, first: 0, tokens: text(5) });
    await expect(act()).rejects.toThrow();
  });

  const attach = (block: number) =>
    run([
      { kind: 'open', slot: 1 },
      { kind: 'segment', slot: 1 },
      { kind: 'attachBlocks', slot: 1, segment: 0, tokens: 16, blocks: [block] },
    ]);
  const shown = (handle: number) =>
    run([], { slot: 0, first: 5, tokens: [3], features: { handle, rows: [0] } });

  it('everything once it is disposed', async () => {
    const running = run(opening(0, 0), { slot: 0, first: 0, tokens: text(5) });
    await engine.dispose();
    expect(await running).toHaveLength(1);
    const draining = { code: 'DRAINING' };
    await expect(run([])).rejects.toMatchObject(draining);
    await expect(engine.releaseImage(1)).rejects.toMatchObject(draining);
    await expect(engine.encodeImage(Buffer.of(1), 16, 16)).rejects.toMatchObject(draining);
  });
});

describe('the time of a timed engine', () => {
  it('is that of its steps, one after the other', async () => {
    const steps = [
      run(opening(0, 0), { slot: 0, first: 0, tokens: text(4) }),
      run([], { slot: 0, first: 4, tokens: [9] }),
    ];
    await Promise.all(steps);
    expect(clock.now).toBe(2 + 4 + 2 + 0.5);
    await run([{ kind: 'close', slot: 0 }]);
    expect(clock.now).toBe(8.5);
  });

  it('is shared by pictures and steps, slice by slice', async () => {
    engine = engineWith({ speedup: 10 });
    const watch = engine.watchImage();
    const picture = engine.encodeImage(Buffer.of(1), 16, 64, watch);
    expect(watch.share()).toBe(0);
    await run(opening(0, 0), { slot: 0, first: 0, tokens: text(4) });
    expect(watch.share()).toBeGreaterThan(0);
    expect(watch.share()).toBeLessThan(1);
    await picture;
    expect([watch.share(), clock.now]).toEqual([1, expect.closeTo((20 + 4 * 5 + 6) / 10)]);
  });

  it('is not spent on a picture that nobody wants any more', async () => {
    const watch = engine.watchImage();
    const picture = engine.encodeImage(Buffer.of(1), 64, 64, watch);
    watch.cancel();
    await expect(picture).rejects.toMatchObject({ code: 'ABORTED' });
    expect([clock.now, engine.pictures]).toEqual([10, 0]);
  });
});
