import { describe, expect, it } from 'vitest';
import { costOn, heldOf, requestOf, viewOf } from '../../../testing/worker-views.js';
import { pace } from './pace.scorer.js';

const fleet = (...speeds: (number | undefined)[]) =>
  speeds.map((msPerToken) => viewOf(msPerToken === undefined ? {} : { msPerToken }));
const costs = (...speeds: (number | undefined)[]) => {
  const workers = fleet(...speeds);
  const cost = pace.over(requestOf(), workers);
  return cost && workers.map((worker) => costOn(cost, worker));
};

describe('pace', () => {
  it.each([
    ['all are as fast', [2, 2, 2], [0, 0, 0]],
    ['one is twice as slow', [2, 4, 2], [0, 20, 0]],
    ['one is faster', [2, 1, 2], [0, 0, 0]],
    ['one is not measured', [2, undefined, 3], [0, undefined, 10]],
    ['the median of an even number is the faster one', [1, 3], [0, 40]],
    ['one is slower by far', [1, 100, 1], [0, 140, 0]],
  ])('where %s', (_what, speeds, expected) => {
    expect(costs(...speeds)).toEqual(expected);
  });

  it.each([[[]], [[undefined, 5]], [[0, 0]]])('says nothing of %j', (speeds) => {
    expect(costs(...speeds)).toBeUndefined();
  });

  it('counts what is ahead and beside, and what is held', () => {
    const workers = [viewOf({ msPerToken: 1 }), viewOf({ msPerToken: 2, running: 4, pendingTokens: 100 })];
    const cost = pace.over(requestOf({ promptTokens: 64 }), workers);
    const held = heldOf({ promptTokens: 64, prefixTokens: 32 });
    expect(costOn(cost, workers[1] ?? viewOf(), held)).toBeCloseTo(32 + 100 + 6.4);
  });
});
