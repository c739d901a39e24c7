import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { RetryBudget } from './retry-budget.js';

const LIMITS = { perRequest: 0.25, perSecond: 10, most: 50 };

const taken = (budget: RetryBudget, nowMs: number): number => {
  let count = 0;
  while (budget.take(nowMs)) count += 1;
  return count;
};

describe('RetryBudget', () => {
  it('begins full, and grows with requests and with time up to its bound', () => {
    const budget = new RetryBudget(LIMITS, 1_000);
    expect(taken(budget, 1_000)).toBe(50);
    for (let requests = 0; requests < 8; requests += 1) budget.deposit();
    expect(taken(budget, 1_000)).toBe(2);
    expect(taken(budget, 1_500)).toBe(5);
    expect(taken(budget, 60_000)).toBe(50);
  });

  it('does not grow by a time that lies before the last', () => {
    const budget = new RetryBudget(LIMITS, 10_000);
    taken(budget, 10_000);
    expect(budget.take(9_000)).toBe(false);
    expect(budget.take(10_050)).toBe(false);
  });

  it('never allows more than its bound, its share of the requests and its floor together', () => {
    const happening = fc.oneof(fc.constant('request'), fc.constant('retry'), fc.nat(2_000));
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 300, size: 'max' }), (happenings) => {
        const budget = new RetryBudget(LIMITS, 0);
        let [nowMs, requests, retries] = [0, 0, 0];
        for (const each of happenings) {
          if (typeof each === 'number') nowMs += each;
          else if (each === 'request') {
            requests += 1;
            budget.deposit();
          } else if (budget.take(nowMs)) retries += 1;
        }
        const { most, perRequest, perSecond } = LIMITS;
        expect(retries).toBeLessThanOrEqual(
          most + perRequest * requests + (perSecond * nowMs) / 1_000 + 1e-9,
        );
      }),
      { seed: 3, numRuns: 200 },
    );
  });
});
