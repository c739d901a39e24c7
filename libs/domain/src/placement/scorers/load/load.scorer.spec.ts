import { describe, expect, it } from 'vitest';
import { costOn, heldOf, requestOf, viewOf, type ViewChanges } from '../../../testing/worker-views.js';
import { load } from './load.scorer.js';

/** 320 tokens, ten steps beside others, and ninety more for the answer: 100 steps, and a picture of 100 rows. */
const request = requestOf({
  promptTokens: 320,
  answerTokens: 90,
  pictures: 1,
  pictureTokens: 100,
  pagesOn: () => 0,
});

describe('load', () => {
  it.each<[string, ViewChanges, number]>([
    ['nothing', {}, 0],
    ['one that runs', { running: 1 }, 160],
    ['requests that the heartbeat has not seen', { requests: 3 }, 480],
    ['another router’s that waits: as long as this one', { waiting: 1 }, 160 + 720],
    [
      'an own one that waits: as long as it is',
      { waiting: 1, pendingRequests: 1, pendingTokens: 50 },
      160 + 50,
    ],
    ['own ones that the heartbeat has not seen', { pendingRequests: 2, pendingTokens: 90 }, 90],
    [
      'one that waits beside an own one',
      { waiting: 2, pendingRequests: 1, pendingTokens: 50 },
      320 + 50 + 720,
    ],
  ])('is %s', (_what, worker, cost) => {
    expect(costOn(load.over(request, []), viewOf(worker))).toBeCloseTo(cost);
  });

  it('has fewer steps to share where the prompt is held', () => {
    const cost = costOn(load.over(request, []), viewOf({ running: 1 }), heldOf({ prefixTokens: 320 }));
    expect(cost).toBeCloseTo(144);
  });

  it.each<[string, ViewChanges, number, number]>([
    ['an empty pool', {}, 10, 20 * 0.1],
    ['half a pool', { free: 50 }, 10, 20 * 0.6],
    ['a pool that is full with it', { free: 10 }, 10, 20],
    ['a pool that is full', { free: 4 }, 10, 20],
    ['pages that were given back since', { free: 4, freedPages: 46 }, 10, 20 * 0.6],
    ['own pages that the heartbeat has not seen', { ownPages: 50 }, 10, 20 * 0.6],
    ['more free than there is', { free: 600 }, 10, 20 * 0.1],
    ['larger blocks', { blockTokens: 32 }, 10, 40 * 0.1],
    ['fewer pages by its codec', {}, 5, 10 * 0.05],
  ])('takes the place of what is kept: in %s', (_what, worker, pages, cost) => {
    const small = requestOf({ pagesOn: () => pages });
    expect(costOn(load.over(small, []), viewOf(worker))).toBeCloseTo(cost);
  });

  it('costs a number on a worker without pages', () => {
    expect(costOn(load.over(requestOf(), []), viewOf({ capacity: 0, free: 0 }))).toBe(20);
  });
});
