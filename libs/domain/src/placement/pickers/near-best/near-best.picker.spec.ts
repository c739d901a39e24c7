import { describe, expect, it } from 'vitest';
import { turns } from '../../../testing/turns.js';
import { nearBest } from './near-best.picker.js';

const pick = (totals: number[], count: number, ...numbers: number[]) =>
  nearBest.pick(Float64Array.from(totals), count, turns(...numbers));

describe('near-best', () => {
  it.each([
    ['nobody', [], [], [0]],
    ['one', [7], [0], [0.9]],
    ['the clearly better one first, then the better of those that are near', [104, 101, 50], [2, 1, 0], [0]],
    ['whatever is drawn of two', [104, 101], [1, 0], [0.99]],
    ['the first draw of a tie', [50, 50], [1, 0], [0.5, 0]],
    ['from what lies just within the margin', [104.9, 104.8, 100], [1], [0]],
    ['from what lies exactly at it', [105, 104.9, 100], [1], [0]],
    ['not from what lies beyond it', [105.1, 105.2, 100], [2], [0]],
    ['those that cost nothing before all others', [0.1, 0, 0], [1], [0]],
  ])('picks %s', (_name, totals, expected, numbers) => {
    expect(pick(totals, 3, ...numbers).slice(0, expected.length)).toEqual(expected);
  });

  it('draws two different ones, so that the better of two is always first', () => {
    for (let draw = 0; draw < 1; draw += 0.1) expect(pick([104, 101], 1, 0, draw)).toEqual([1]);
  });

  it('spreads what many routers decide from one snapshot', () => {
    const totals = new Float64Array(50).fill(9);
    const counts = new Map<number, number>();
    let state = 1;
    const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    for (let router = 0; router < 5_000; router += 1) {
      const [index = -1] = nearBest.pick(totals, 1, random);
      counts.set(index, (counts.get(index) ?? 0) + 1);
    }
    expect(counts.size).toBe(50);
    expect(Math.max(...counts.values())).toBeLessThan(160);
  });
});
