import { describe, expect, it } from 'vitest';
import { heldOf, requestOf, viewOf } from '../testing/worker-views.js';
import { place } from './place.js';
import { POLICY_NAMES, type PolicyName, policyOf, SCORER_NAMES } from './policies.js';

/** An idle one, one that holds the prompt and is busy, and one that is busier. */
const workers = [
  viewOf({ id: 'idle' }),
  viewOf({ id: 'holder', running: 1 }),
  viewOf({ id: 'busy', running: 9 }),
];
const request = requestOf({
  ...{ promptTokens: 1_000, answerTokens: 100 },
  holdings:
    () =>
    ({ record }) =>
      heldOf({ prefixTokens: record.workerId === 'holder' ? 990 : 0 }),
});

/** How many of a thousand requests go where. */
function shares(name: PolicyName, weights = {}): Record<string, number> {
  const policy = policyOf(name, weights);
  const counts: Record<string, number> = { idle: 0, holder: 0, busy: 0 };
  let state = 1;
  const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let draw = 0; draw < 1_000; draw += 1) {
    const id = place(request, workers, policy, 1, random).picks[0]?.worker.record.workerId ?? '';
    counts[id] = (counts[id] ?? 0) + 1;
  }
  return counts;
}

describe('policies', () => {
  it('are these, of these parts', () => {
    expect(POLICY_NAMES).toEqual(['cost-aware', 'power-of-two', 'least-loaded', 'round-robin', 'random']);
    expect(SCORER_NAMES).toEqual(['prefix', 'picture', 'load', 'affinity', 'hardware', 'last-copy', 'pace']);
  });

  it('cost-aware goes where the least is left to do', () => {
    expect(shares('cost-aware')).toEqual({ idle: 0, holder: 1_000, busy: 0 });
  });

  it('cost-aware goes elsewhere where a weight says so', () => {
    expect(shares('cost-aware', { load: 9 })).toEqual({ idle: 1_000, holder: 0, busy: 0 });
    expect(shares('cost-aware', { prefix: 0 })).toEqual({ idle: 1_000, holder: 0, busy: 0 });
  });

  it('least-loaded goes where least is under way', () => {
    expect(shares('least-loaded')).toEqual({ idle: 1_000, holder: 0, busy: 0 });
  });

  it('power-of-two goes to the better of two', () => {
    const { idle = 0, holder = 0, busy } = shares('power-of-two');
    expect(busy).toBe(0);
    expect(idle / holder).toBeCloseTo(2, 0);
  });

  it('round-robin goes everywhere in turn, each policy of its own', () => {
    expect(shares('round-robin')).toEqual({ idle: 334, holder: 333, busy: 333 });
    expect(shares('round-robin')).toEqual({ idle: 334, holder: 333, busy: 333 });
  });

  it('random goes anywhere', () => {
    for (const share of Object.values(shares('random'))) expect(Math.abs(share - 333)).toBeLessThan(60);
  });
});
