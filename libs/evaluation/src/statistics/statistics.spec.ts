import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { argmax, clusteredRatio, klNats, pairedDifference, quantile } from './statistics.js';

const logits = fc.float32Array({ minLength: 5, maxLength: 5, min: -40, max: 40, noNaN: true });

describe('klNats', () => {
  it('is what the definition gives', () => {
    const [p, q] = [
      [0.5, 0.25, 0.25],
      [0.25, 0.25, 0.5],
    ];
    const expected = 0.5 * Math.log(2) + 0.25 * Math.log(0.5);
    expect(klNats(Float32Array.from(p, Math.log), Float32Array.from(q, Math.log))).toBeCloseTo(expected, 6);
  });

  it('is nought for the same distribution, whatever is added to its logits, and never negative', () => {
    fc.assert(
      fc.property(logits, logits, fc.integer({ min: -8, max: 8 }), (p, q, shift) => {
        expect(klNats(p, q)).toBeGreaterThanOrEqual(0);
        const shifted = p.map((value) => value + shift);
        expect(klNats(p, shifted)).toBeLessThan(1e-4);
      }),
      { seed: 3 },
    );
  });
});

describe('argmax', () => {
  it('takes the first of equals', () => {
    expect(argmax(Float32Array.of(1, 3, 3, 2))).toBe(1);
  });
});

describe('quantile', () => {
  it('is the smallest value that the share does not exceed', () => {
    const values = [5, 1, 4, 2, 3];
    expect([0, 0.2, 0.21, 0.99, 1].map((share) => quantile(values, share))).toEqual([1, 1, 2, 5, 5]);
  });
});

describe('clusteredRatio', () => {
  const cluster = (sum: number, weight: number) => ({ sum, weight });

  it('weighs clusters by what they hold, the same every time', () => {
    const clusters = [cluster(1, 1), cluster(0, 3), cluster(2, 4)];
    const estimate = clusteredRatio(clusters);
    expect(estimate.value).toBeCloseTo(3 / 8, 12);
    expect(clusteredRatio(clusters)).toEqual(estimate);
  });

  it('comes near the textbook interval where clusters are single trials', () => {
    const [trials, share] = [900, 0.3];
    const clusters = Array.from({ length: trials }, (_, trial) => cluster(Number(trial < trials * share), 1));
    const half = 1.96 * Math.sqrt((share * (1 - share)) / trials);
    const { low, high } = clusteredRatio(clusters);
    expect(low).toBeGreaterThan(share - 1.1 * half);
    expect(low).toBeLessThan(share - 0.9 * half);
    expect(high).toBeGreaterThan(share + 0.9 * half);
    expect(high).toBeLessThan(share + 1.1 * half);
  });

  it('is wider for trials that come in clusters than for as many single ones', () => {
    const width = (clusters: { sum: number; weight: number }[]) => {
      const { low, high } = clusteredRatio(clusters);
      return high - low;
    };
    const alone = Array.from({ length: 200 }, (_, trial) => cluster(trial % 2, 1));
    const together = Array.from({ length: 20 }, (_, trial) => cluster(10 * (trial % 2), 10));
    expect(width(together)).toBeGreaterThan(2 * width(alone));
  });
});

describe('pairedDifference', () => {
  it('claims no certainty where no pair differs', () => {
    const clusters = Array.from({ length: 50 }, () => ({ sum: 0, weight: 6 }));
    expect(pairedDifference(clusters, 0)).toEqual({ value: 0, low: -0.01, high: 0.01 });
  });
});
