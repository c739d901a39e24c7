import type { Holding, Scheduler } from '@kvcapsule/domain/scheduling';
import { FakeEngine } from '@kvcapsule/testing/engine';
import { describe, expect, it } from 'vitest';

import { kvGauges, poolFigures } from './gauges.js';
import { rawTokenBytes } from './geometry.js';

/** Blocks of 16 tokens in 8 pages of 64 bytes; a token's raw row takes 32. */
const { info } = new FakeEngine(8, [
  { tokens: 0, bytesPerToken: 17 },
  { tokens: 40, pages: 3 },
  { tokens: 20, pages: 2 },
]);
const [rows, ...capsules] = info.formats;
const geometry = { ...info, formats: [{ ...rows!, headerBytes: 4 }, ...capsules] };

function gauges(holdings: readonly (readonly [number | undefined, Holding])[]) {
  const tokens: Record<string, number> = { a: 30, b: 12 };
  const scheduler = {
    pool: { freePages: 10, heldPages: 54, cachedPages: 5 },
    running: Object.keys(tokens),
    pages: (id: string) => ({ tokens: tokens[id] }),
    holdings: () => new Map(holdings),
  } as unknown as Scheduler;
  return kvGauges(scheduler, geometry);
}

describe('rawTokenBytes', () => {
  it('are two bytes for each number of keys and of values, in all layers and heads', () => {
    expect(rawTokenBytes({ layers: 3, kvHeads: 5, headDim: 7 })).toBe(2 * 2 * 3 * 5 * 7);
  });
});

describe('kvGauges', () => {
  it('add up pages by codec, and what of them is written', () => {
    const { bytes } = gauges([
      [undefined, { pieces: 3, pages: 24, tokens: 40 }],
      [0, { pieces: 2, pages: 10, tokens: 30 }],
      [1, { pieces: 2, pages: 6, tokens: 80 }],
      [2, { pieces: 1, pages: 2, tokens: 20 }],
    ]);
    expect(Object.fromEntries(bytes)).toEqual({
      raw: { held: 24 * 64, written: 40 * 32, raw: 40 * 32 },
      // a header for each piece, 17 bytes for each token
      q8: { held: 10 * 64, written: 2 * 4 + 30 * 17, raw: 30 * 32 },
      // both profiles of one codec, their pages wholly written
      capsule: { held: 8 * 64, written: 2 * 3 * 64 + 2 * 64, raw: 100 * 32 },
    });
  });

  it('tell zeros of codecs that nobody uses, so that a series never ends', () => {
    const none = { held: 0, written: 0, raw: 0 };
    expect(Object.fromEntries(gauges([]).bytes)).toEqual({ raw: none, q8: none, capsule: none });
  });

  it('tell what the running requests would take as raw rows', () => {
    expect(gauges([])).toMatchObject({
      ...{ freePages: 10, heldPages: 54, cachedPages: 5 },
      rawEquivalentBytes: 42 * 32,
      pageBytes: 64,
    });
  });
});

describe('poolFigures', () => {
  it('tell what running requests and the cache hold, and what that would take as raw rows', () => {
    const scheduler = {
      pool: { freePages: 10, heldPages: 54, cachedPages: 5 },
      running: ['a'],
      pages: () => ({ tokens: 30 }),
      holdings: () => new Map([[undefined, { pages: 24 }]]),
      ...{ cachedContentTokens: 12, swappedPages: 3 },
    } as unknown as Scheduler;
    expect(poolFigures(scheduler, geometry, 7)).toEqual({
      ...{ rawPages: 24, capsulePages: 30, cachedPages: 5, swappedPages: 3 },
      ...{ rawBytes: 42 * 32, drawnTokens: 7 },
    });
  });
});
