import { SeededRandom } from '@kvcapsule/testing/scenes';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Measured, Recorder, type RequestRecord } from '../measurement/index.js';
import { bootstrapRatio, pointOf, quantileEstimator, ratioEstimator } from '../statistics/index.js';
import { compareSides } from './compare.js';

/** A run whose answers take as long as a draw says, `times` as long. */
function runOf(seed: number, times: number, requests = 300): Measured {
  const random = new SeededRandom(seed);
  const recorder = new Recorder(0);
  for (let at = 0; at < requests; at += 1) {
    const intendedMs = 100 * at;
    const firstMs = intendedMs + times * random.between(50, 150);
    const lastMs = firstMs + times * random.between(150, 250);
    const record: RequestRecord = {
      ...{
        conversation: at,
        turn: 0,
        pictures: 0,
        intendedMs,
        sentMs: intendedMs,
        firstMs,
        lastMs,
        endMs: lastMs,
      },
      ...{
        outcome: 'ok',
        parts: 11,
        longestGapMs: 30,
        promptTokens: 9,
        cachedTokens: 0,
        completionTokens: 11,
      },
    };
    recorder.take(record, []);
  }
  return recorder.measured();
}

const byName = (a: Measured, b: Measured) =>
  new Map(compareSides([a], [b]).map((metric) => [metric.name, metric]));

describe('two runs', () => {
  it('of one distribution are not told apart', () => {
    for (const metric of compareSides([runOf(1, 1)], [runOf(2, 1)])) {
      expect(metric.low, metric.name).toBeLessThanOrEqual(1);
      expect(metric.high, metric.name).toBeGreaterThanOrEqual(1);
      expect(metric.verdict).toBe('unknown');
    }
  });

  it('of which one is slower are, by as much as it is', () => {
    const compared = byName(runOf(1, 1), runOf(2, 1.5));
    for (const name of ['TTFT p50', 'TPOT p50', 'end to end p50', 'ITL mean']) {
      const metric = compared.get(name);
      expect(metric, name).toMatchObject({ verdict: 'worse' });
      expect(metric?.low, name).toBeLessThan(1.5);
      expect(metric?.high, name).toBeGreaterThan(1.5);
    }
    expect(byName(runOf(1, 1.5), runOf(2, 1)).get('TTFT p50')).toMatchObject({ verdict: 'better' });
  });

  it('of which one answers more a second are', () => {
    const [few, many] = [runOf(1, 1, 300), runOf(1, 1, 300)];
    const twice = {
      ...many,
      records: many.records.map((one) => ({ ...one, intendedMs: one.intendedMs / 2, endMs: one.endMs / 2 })),
    };
    expect(byName(few, twice).get('requests')).toMatchObject({ verdict: 'better' });
    expect(byName(few, twice).get('requests')?.ratio).toBeCloseTo(2, 1);
  });

  it('that both answered nothing have no ratio', () => {
    const [metric] = compareSides([new Recorder(0).measured()], [new Recorder(0).measured()]);
    expect(metric).toMatchObject({ verdict: 'unknown' });
    expect(metric?.ratio).toBeNaN();
  });

  it('have a share of good requests when an SLO says what these are', () => {
    const metrics = compareSides([runOf(1, 1)], [runOf(2, 3)], { ttft: 160 });
    expect(metrics.at(-1)).toMatchObject({ name: 'good requests', a: 1, verdict: 'worse' });
  });
});

describe('a bootstrap', () => {
  const members = fc.array(
    fc.record({ cluster: fc.nat(9), value: fc.double({ min: 1, max: 9, noNaN: true }) }),
    {
      ...{ minLength: 1, maxLength: 60 },
    },
  );

  it('of one sample beside itself holds 1, its point included', () => {
    fc.assert(
      fc.property(members, fc.constantFrom(0.1, 0.5, 0.99), (all, share) => {
        const estimator = quantileEstimator(all, 10, share);
        const { ratio, low, high } = bootstrapRatio(estimator, estimator);
        expect(ratio).toBe(1);
        expect(low).toBeLessThanOrEqual(1);
        expect(high).toBeGreaterThanOrEqual(1);
      }),
      { seed: 15, numRuns: 50 },
    );
  });

  it('takes the quantile that sorting gives', () => {
    const all = [5, 1, 4, 2, 3].map((value, cluster) => ({ value, cluster }));
    expect([0, 0.2, 0.21, 0.5, 1].map((share) => pointOf(quantileEstimator(all, 5, share)))).toEqual([
      1, 1, 2, 3, 5,
    ]);
    expect(quantileEstimator(all, 5, 0.5).estimate(Uint32Array.of(0, 4, 0, 1, 0))).toBe(1);
  });

  it('covers the truth about as often as it says', () => {
    const random = new SeededRandom(9);
    const draw = () =>
      ratioEstimator(Array.from({ length: 60 }, () => ({ sum: random.between(0, 2), weight: 1 })));
    const hits = Array.from({ length: 120 }, () => bootstrapRatio(draw(), draw())).filter(
      ({ low, high }) => low <= 1 && high >= 1,
    ).length;
    expect(hits / 120).toBeGreaterThan(0.88);
  });
});
