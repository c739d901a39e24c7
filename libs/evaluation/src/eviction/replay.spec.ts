import { EVICTION_POLICIES, RebuildCosts } from '@kvcapsule/domain/eviction';
import { describe, expect, it } from 'vitest';
import { optimum } from './optimum.js';
import { replay } from './replay.js';
import type { Piece, Trace } from './trace.js';
import { TRACE_NAMES, traceOf } from './traffic.js';

const COST_OF = new RebuildCosts().of;
const usedPages = ({ requests }: Trace) =>
  [...new Set(requests.flatMap(({ pieces }) => pieces))].reduce((sum, { pages }) => sum + pages, 0);
const tokens = ({ tokenIds }: Piece) => tokenIds.length;

describe.each(TRACE_NAMES)('%s', (name) => {
  const trace = traceOf(name, { requests: 60, seed: 5 });

  it('is the same for a seed, and another for another', () => {
    expect(traceOf(name, { requests: 60, seed: 5 }).requests).toEqual(trace.requests);
    expect(traceOf(name, { requests: 60, seed: 6 }).requests).not.toEqual(trace.requests);
  });

  it('in a pool for everything each policy finds all that was there before, the upper bound too', () => {
    const blocks = Math.ceil(usedPages(trace) / 4);
    const bound = optimum(trace, blocks * 8, tokens);
    for (const create of Object.values(EVICTION_POLICIES)) {
      const { found, evictedPages } = replay(trace, blocks, create(COST_OF));
      expect([found.textTokens + found.pictureTokens, evictedPages]).toEqual([bound.lower, 0]);
    }
    expect(bound.upper).toBeCloseTo(bound.lower, 6);
  });

  it('in a small pool no policy passes the bound', () => {
    const blocks = Math.ceil(usedPages(trace) / 8 / 3);
    const bound = optimum(trace, blocks * 8, tokens);
    for (const create of Object.values(EVICTION_POLICIES)) {
      const { found, evictedPages } = replay(trace, blocks, create(COST_OF));
      expect(found.textTokens + found.pictureTokens).toBeLessThanOrEqual(bound.upper);
      expect(evictedPages).toBeGreaterThan(0);
    }
  });
});

it('tells what each tenant asked for and found', () => {
  const trace = traceOf('tenants', { requests: 200, seed: 5 });
  const blocks = Math.ceil(usedPages(trace) / 8 / 3);
  const { found, asked, byTenant } = replay(trace, blocks, EVICTION_POLICIES.lru());
  expect(new Set(byTenant.keys())).toEqual(new Set(trace.requests.map(({ tenant }) => tenant)));
  for (const unit of ['pages', 'textTokens', 'pictureTokens'] as const) {
    const sum = (part: 'found' | 'asked') =>
      [...byTenant.values()].reduce((all, own) => all + own[part][unit], 0);
    expect([sum('found'), sum('asked')]).toEqual([found[unit], asked[unit]]);
  }
});
