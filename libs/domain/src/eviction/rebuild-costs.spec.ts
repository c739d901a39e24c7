import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { contentOf } from '../testing/policy-driver.js';
import { RebuildCosts } from './rebuild-costs.js';

const text = contentOf(0, { textTokens: 100 });
const picture = contentOf(1, { textTokens: 0, pictureTokens: 100, storedPages: 8 });

describe('RebuildCosts', () => {
  it('assumes until it has measured that the tower takes four times a token’s prefill', () => {
    const costs = new RebuildCosts();
    expect(costs.of(contentOf(2, { textTokens: 0, pictureTokens: 100 })) / costs.of(text)).toBeCloseTo(5);
    costs.prefilled(50, 0.5);
    expect(costs.of(text)).toBeCloseTo(1);
    expect(costs.of(picture)).toBeCloseTo(5 + 8 * 0.002);
  });

  it('is the sum of prefill, tower and compression, as each was measured', () => {
    const costs = new RebuildCosts();
    costs.prefilled(200, 0.4);
    costs.encoded(64, 0.64);
    costs.compressed(4, 0.2);
    expect(costs.of(picture)).toBeCloseTo(100 * (0.002 + 0.01) + 8 * 0.05);
  });

  it('comes near what a machine takes, from any assumption, and follows it when it changes', () => {
    const costs = new RebuildCosts();
    for (const seconds of [5e-6, 2e-3]) {
      for (let step = 0; step < 400; step += 1)
        costs.prefilled(64, 64 * seconds * (step % 2 === 0 ? 0.8 : 1.25));
      expect(costs.prefillSeconds / seconds).toBeGreaterThan(0.97);
      expect(costs.prefillSeconds / seconds).toBeLessThan(1.03);
    }
  });

  it('hardly heeds a single outlier, however far it lies off', () => {
    const observed = fc.tuple(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.nat(1_000));
    fc.assert(
      fc.property(observed, ([seconds, tokens]) => {
        const costs = new RebuildCosts();
        for (let step = 0; step < 40; step += 1) costs.encoded(64, 0.064);
        costs.encoded(tokens, seconds);
        expect(Math.abs(Math.log(costs.towerSeconds / 0.001))).toBeLessThan(0.05);
      }),
      { numRuns: 200, seed: 4 },
    );
  });

  it('learns nothing from what no machine takes', () => {
    const costs = new RebuildCosts();
    const before = costs.of(picture);
    for (const [tokens, seconds] of [
      [0, 1],
      [0, 0],
      [64, 0],
      [64, -1],
      [64, Infinity],
      [64, NaN],
      [1, 60],
    ] as const) {
      costs.prefilled(tokens, seconds);
      costs.encoded(tokens, seconds);
      costs.compressed(tokens, seconds);
    }
    expect(costs.of(picture)).toBe(before);
  });
});
