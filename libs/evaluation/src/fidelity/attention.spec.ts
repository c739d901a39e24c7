import { describe, expect, it } from 'vitest';
import { attend, cosine, joinRows, selectRows, type SegmentRows } from './attention.js';

const SHAPE = { layers: 2, heads: 4, kvHeads: 2, headDim: 3 };
const UNITS = SHAPE.layers * 2 * SHAPE.kvHeads;

/** Row `row` of unit `unit` is `[unit, row, tag]`. */
function segment(tokens: number, tag: number): SegmentRows {
  const rows = Array.from({ length: UNITS }, (_, unit) =>
    Array.from({ length: tokens }, (_, row) => [unit, row, tag]),
  );
  return { tokens, rows: Float32Array.from(rows.flat(2)) };
}

const rowsOf = ({ tokens, rows }: SegmentRows, unit: number) =>
  Array.from({ length: tokens }, (_, row) => [
    ...rows.subarray((unit * tokens + row) * SHAPE.headDim, (unit * tokens + row + 1) * SHAPE.headDim),
  ]);

describe('rows of segments', () => {
  it('are joined and chosen unit by unit', () => {
    const joined = joinRows(SHAPE, [segment(2, 7), selectRows(SHAPE, segment(4, 8), [3, 1])]);
    expect(joined.tokens).toBe(4);
    for (let unit = 0; unit < UNITS; unit++) {
      expect(rowsOf(joined, unit)).toEqual([
        [unit, 0, 7],
        [unit, 1, 7],
        [unit, 3, 8],
        [unit, 1, 8],
      ]);
    }
  });
});

describe('attend', () => {
  // One layer's keys along the first channel, so that weights are plain exponentials.
  const shape = { layers: 1, heads: 2, kvHeads: 1, headDim: 4 };
  const keys = [0, 2 * Math.log(3), 2 * Math.log(100)].flatMap((first) => [first, 0, 0, 0]);
  const values = [1, 5, 1000].flatMap((value) => [value, -value, 0, 0]);
  const rows = { tokens: 3, rows: Float32Array.from([...keys, ...values]) };

  it('weighs values by the softmax of scaled products, over the rows that are seen', () => {
    const queries = Float32Array.from([1, 0, 0, 0, 0, 1, 1, 1]);
    const out = attend(shape, 0, queries, rows, rows, 2);
    const expected = (1 * 1 + 3 * 5) / 4;
    expect([...out.subarray(0, 4)].map((value) => Number(value.toFixed(5)))).toEqual([
      expected,
      -expected,
      0,
      0,
    ]);
    // A query that no key answers sees the plain mean.
    expect([...out.subarray(4)]).toEqual([3, -3, 0, 0]);
  });

  it('finds the KV head of a group of query heads in each layer', () => {
    const one = (kvHead: number, layer: number) =>
      attend(SHAPE, layer, new Float32Array(12), segment(1, 0), segment(1, 0), 1)[kvHead * 6];
    // Values of layer l and KV head h lie in unit (2 l + 1) * 2 + h.
    expect([one(0, 0), one(1, 0), one(0, 1), one(1, 1)]).toEqual([2, 3, 6, 7]);
  });
});

it('cosine knows nothing of length', () => {
  expect(cosine(Float64Array.of(1, 0), Float64Array.of(3, 4))).toBeCloseTo(0.6, 12);
});
