import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { leastTrials, RateSearch, type RateSearchOptions, verdictOf } from './rate-search.js';
import { wilsonInterval } from '../statistics/index.js';

const OPTIONS: RateSearchOptions = {
  ...{
    startPerSecond: 1,
    target: 0.95,
    precision: 0.1,
    leastPerSecond: 0.01,
    mostPerSecond: 10_000,
    trials: 3,
  },
};

/** Searches on a server whose requests are good in a share that hangs on the rate. */
function search(good: (perSecond: number) => number, options: Partial<RateSearchOptions> = {}, trials = 400) {
  const found = new RateSearch({ ...OPTIONS, ...options });
  const tried: number[] = [];
  for (let rate = found.next(); rate !== undefined; rate = found.next()) {
    tried.push(rate);
    if (tried.length > 200) throw new Error('no end');
    found.take(rate, Math.round(good(rate) * trials), trials);
  }
  return { ...found.bounds(), tried };
}

describe('the search for a rate', () => {
  it('doubles, then halves the distance', () => {
    const { tried, holds, above } = search((rate) => (rate <= 10 ? 1 : 0.2));
    expect(tried.slice(0, 5)).toEqual([1, 2, 4, 8, 16]);
    expect(holds).toBeLessThanOrEqual(10);
    expect(above).toBeGreaterThan(10);
    expect((above ?? 0) / (holds ?? 1)).toBeLessThanOrEqual(1.1);
  });

  it('finds the limit of any server whose requests get worse with the rate', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.05, max: 4_000, noNaN: true }),
        fc.double({ min: 0.02, max: 500, noNaN: true }),
        fc.constantFrom(0.01, 0.1, 0.5),
        (limit, startPerSecond, precision) => {
          const {
            holds = 0,
            above = Infinity,
            tried,
          } = search((rate) => (rate <= limit ? 1 : 0), { startPerSecond, precision });
          expect(holds).toBeLessThanOrEqual(limit);
          expect(above).toBeGreaterThan(limit);
          expect(above / holds).toBeLessThanOrEqual(1 + precision);
          expect(new Set(tried).size).toBe(tried.length);
        },
      ),
      { seed: 15 },
    );
  });

  it('asks again what is not resolved, all trials together, and then lets it be', () => {
    const { tried, holds, above, results } = search((rate) => (rate < 4 ? 1 : rate < 8 ? 0.95 : 0), {}, 80);
    expect(tried.slice(0, 5)).toEqual([1, 2, 4, 4, 4]);
    expect(results.find(({ perSecond }) => perSecond === 4)).toMatchObject({
      ...{ verdict: 'unresolved', trials: 3 },
      share: { hits: 228, trials: 240 },
    });
    expect(holds).toBeLessThan(4);
    expect(above).toBeLessThanOrEqual(4);
  });

  it('says nothing of few samples', () => {
    const { results, holds } = search(() => 1, { mostPerSecond: 1 }, 20);
    expect(holds).toBeUndefined();
    expect(results.at(-1)).toMatchObject({ perSecond: 1, verdict: 'unresolved', trials: 3 });
    expect(results.every(({ verdict }) => verdict === 'unresolved')).toBe(true);
    expect(leastTrials(0.95)).toBe(73);
    expect(verdictOf(wilsonInterval(72, 72), 0.95)).toBe('unresolved');
    expect(verdictOf(wilsonInterval(73, 73), 0.95)).toBe('holds');
  });

  it('ends at its bounds', () => {
    expect(search(() => 1, { mostPerSecond: 50 })).toMatchObject({ holds: 32 });
    const { holds, above } = search(() => 0, { leastPerSecond: 0.1 });
    expect([holds, above]).toEqual([undefined, 0.125]);
  });
});
