import { describe, expect, it } from 'vitest';
import { requestOf, viewOf } from '../../../testing/worker-views.js';
import { leastLoaded } from './least-loaded.scorer.js';

describe('least-loaded', () => {
  it.each([
    ['idle, all free', { free: 100 }, 0, 1],
    ['idle, half taken by the request', { free: 100 }, 50, 0.75],
    ['one running', { running: 1, free: 100 }, 0, 0.75],
    ['one waiting', { waiting: 1, free: 100 }, 0, 0.75],
    ['own requests the heartbeat has not seen', { ownRequests: 3, free: 100 }, 0, 0.625],
    ['own pages the heartbeat has not seen', { ownPages: 100, free: 100 }, 0, 0.5],
    ['no room', { free: 10 }, 20, 0.5],
    ['more free than there is', { free: 600 }, 0, 1],
    ['heartbeat and own view of the same requests', { running: 1, ownRequests: 1, free: 100 }, 0, 0.75],
  ])('%s', (_name, worker, pages, score) => {
    expect(leastLoaded.score(requestOf({ pagesOn: () => pages }), viewOf(worker))).toBeCloseTo(score);
  });

  it('does not score a worker without pages', () => {
    expect(leastLoaded.score(requestOf({ pagesOn: () => 0 }), viewOf({ capacity: 0 }))).toBeUndefined();
  });
});
