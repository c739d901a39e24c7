import { SeededRandom } from '@kvcapsule/testing/scenes';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arrivalTimes, type RateProfile, type Spacing } from './arrivals.js';

function take(count: number, profile: RateProfile, spacing: Spacing, seed = 1): number[] {
  const random = new SeededRandom(seed);
  const times = arrivalTimes(profile, spacing, () => random.next());
  return Array.from({ length: count }, () => times.next().value);
}

const rate = fc.double({ min: 0.1, max: 5_000, noNaN: true });
const profile: fc.Arbitrary<RateProfile> = fc.oneof(
  fc.record({ kind: fc.constant('constant' as const), perSecond: rate }),
  fc.record({
    kind: fc.constant('ramp' as const),
    fromPerSecond: rate,
    toPerSecond: rate,
    overSeconds: fc.integer({ min: 1, max: 600 }),
  }),
);

describe('arrivals', () => {
  it('come at equal distances of a constant rate', () => {
    expect(take(4, { kind: 'constant', perSecond: 8 }, 'even')).toEqual([0, 125, 250, 375]);
  });

  it('come closer together as a ramp rises, and as often as its area says', () => {
    const ramp: RateProfile = { kind: 'ramp', fromPerSecond: 0.001, toPerSecond: 20, overSeconds: 10 };
    const times = take(200, ramp, 'even');
    expect(times.filter((ms) => ms < 5_000).length).toBe(26);
    expect(times.filter((ms) => ms < 10_000).length).toBe(101);
    // on at the last rate
    expect((times[150] ?? 0) - (times[149] ?? 0)).toBeCloseTo(50, 6);
  });

  it('ascend without an end or a number that is none, whatever the rate', () => {
    fc.assert(
      fc.property(profile, fc.constantFrom<Spacing>('even', 'poisson'), fc.nat(), (one, spacing, seed) => {
        const times = take(300, one, spacing, seed);
        expect(times.every((ms, at) => Number.isFinite(ms) && ms >= (times[at - 1] ?? 0))).toBe(true);
      }),
      { seed: 15 },
    );
  });

  it('of Poisson keep the rate, with distances that spread as an exponential’s do', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.5, max: 2_000, noNaN: true }), fc.nat(), (perSecond, seed) => {
        const count = 4_000;
        const times = take(count, { kind: 'constant', perSecond }, 'poisson', seed);
        const gaps = times.map((ms, at) => ((ms - (times[at - 1] ?? 0)) * perSecond) / 1_000);
        const mean = gaps.reduce((sum, gap) => sum + gap, 0) / count;
        const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / count;
        // five standard errors of the mean; the exponential's variance is its mean squared
        expect(Math.abs(mean - 1)).toBeLessThan(5 / Math.sqrt(count));
        expect(Math.abs(variance - 1)).toBeLessThan(0.3);
        expect(gaps.filter((gap) => gap > 1).length / count).toBeCloseTo(Math.exp(-1), 1);
      }),
      { seed: 15, numRuns: 30 },
    );
  });
});
