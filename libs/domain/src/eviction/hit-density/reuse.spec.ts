import { describe, expect, it } from 'vitest';
import { Reuse } from './reuse.js';

/** Counts of hits at these ages and so many misses. */
function reuseOf(ages: readonly number[], misses: number): Reuse {
  const reuse = new Reuse();
  for (const age of ages) reuse.hit(age, false);
  for (let miss = 0; miss < misses; miss += 1) reuse.miss();
  return reuse;
}

describe('Reuse', () => {
  it('expects hits a page of traffic by the best time to wait', () => {
    const density = reuseOf([6, 6, 6], 1).density;
    // half octaves: 6 lies between 4.66 and 7, whose middle is 5.83; one of four waits until 7
    expect(density.at(0)).toBeCloseTo(3 / (3 * 5.83 + 7), 2);
    // on the way there the same hits are nearer
    expect(density.at(5)).toBeGreaterThan(2 * density.at(0));
    expect(density.at(20)).toBe(0);
  });

  it('takes a miss back when what had gone is found again', () => {
    const reuse = reuseOf([6], 2);
    reuse.hit(6, true);
    expect([reuse.total, reuse.density.at(0)]).toEqual([3, reuseOf([6, 6], 1).density.at(0)]);
  });

  it('expects what all content does while little is known, and its own once much is', () => {
    const all = reuseOf([...Array<number>(50).fill(6)], 50);
    const [little, much] = [1, 1_000].map((misses) => reuseOf([], misses).with(all, 32).density.at(0));
    expect(little).toBeCloseTo(all.density.at(0), 2);
    expect(much).toBeLessThan(0.04 * (little ?? 0));
  });

  it('forgets old traffic', () => {
    const reuse = reuseOf([], 60_000);
    expect(reuse.total).toBeLessThan(20_001);
  });

  it('expects less the longer ago, before anything is known', () => {
    const density = Reuse.unknown().density;
    const ages = [0, 10, 100, 1_000, 10_000].map((age) => density.at(age));
    expect(ages).toEqual(ages.toSorted((a, b) => b - a));
  });
});
