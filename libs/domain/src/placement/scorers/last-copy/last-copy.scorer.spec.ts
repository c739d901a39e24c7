import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { costOn, heldOf, requestOf, type ViewChanges, viewOf } from '../../../testing/worker-views.js';
import type { WorkerCache } from '../../placement.js';
import { lastCopy } from './last-copy.scorer.js';

/** Of a request of ten pages and twenty tokens. */
function costOf(cache: WorkerCache | undefined, view: ViewChanges = {}, prefixTokens = 0) {
  const cost = lastCopy.over(requestOf({ cacheOf: () => cache }), []);
  return costOn(cost, viewOf(view), heldOf({ prefixTokens }));
}

describe('last-copy', () => {
  it.each([
    ['the request fits beside all that is cached', { pages: 90, lastCopyTokens: 900 }, 0, 0],
    ['the pool is full of what others hold too', { pages: 100, lastCopyTokens: 0 }, 0, 0],
    ['the pool is full of last copies', { pages: 100, lastCopyTokens: 800 }, 0, 80],
    ['half of it are last copies', { pages: 100, lastCopyTokens: 400 }, 0, 40],
    ['six pages are empty', { pages: 94, lastCopyTokens: 940 }, 0, 40],
    ['half of the prompt is held', { pages: 100, lastCopyTokens: 800 }, 10, 40],
    ['nothing is cached', { pages: 0, lastCopyTokens: 0 }, 0, 0],
    ['nothing is known', undefined, 0, undefined],
  ])('where %s', (_what, cache, prefixTokens, cost) => {
    const told = costOf(cache, {}, prefixTokens);
    if (cost === undefined) expect(told).toBeUndefined();
    else expect(told).toBeCloseTo(cost, 9);
  });

  it('counts pages that running requests have as taken', () => {
    expect(costOf({ pages: 60, lastCopyTokens: 600 }, { free: 64 })).toBeCloseTo(60, 9);
  });

  it('is never more than all last copies, and never less where more of them are held or less of the pool is free', () => {
    const pages = fc.nat(200);
    fc.assert(
      fc.property(pages, fc.nat(5_000), pages, pages, (cached, lastCopyTokens, free, more) => {
        const cost = costOf({ pages: cached, lastCopyTokens }, { free }) ?? 0;
        expect(cost).toBeGreaterThanOrEqual(0);
        expect(cost).toBeLessThanOrEqual(lastCopyTokens);
        expect(
          costOf({ pages: cached, lastCopyTokens: lastCopyTokens + more }, { free }),
        ).toBeGreaterThanOrEqual(cost);
        expect(costOf({ pages: cached, lastCopyTokens }, { free: free + more })).toBeLessThanOrEqual(cost);
      }),
      { numRuns: 300, seed: 5 },
    );
  });

  it('says nothing without an index', () => {
    expect(lastCopy.over(requestOf(), [])).toBeUndefined();
  });
});
