import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { decodeRows, encodeRows } from './marker-rows.js';

describe('rows', () => {
  it.each([
    [[], []],
    [[0], [0, 1]],
    [
      [3, 4, 5, 9],
      [3, 3, 3, 1],
    ],
    [
      [0, 1, 7],
      [0, 2, 5, 1],
    ],
    [
      [0, 5, 6, 7],
      [0, 1, 4, 3],
    ],
  ])('%j are %j', (rows, lengths) => {
    expect(encodeRows(rows)).toEqual(lengths);
  });

  it('come back as they were', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(300), { maxLength: 60 }), (unordered) => {
        const rows = [...unordered].sort((a, b) => a - b);
        expect(decodeRows(encodeRows(Int32Array.from(rows)), 301)).toEqual(rows);
      }),
      { seed: 5 },
    );
  });

  it('are none where they go beyond the end', () => {
    expect(decodeRows([3, 2], 5)).toEqual([3, 4]);
    expect(decodeRows([3, 2], 4)).toBeUndefined();
    expect(decodeRows([1e15, 1], 4)).toBeUndefined();
  });
});
