import { describe, expect, it } from 'vitest';

import { picture, ROOT } from '../testing/request-scripts.js';
import { pageRunsOf } from './page-kinds.js';
import { Scheduler } from './scheduler.js';

const tokenIds = Array.from({ length: 40 }, (_, at) => at % 7);

function run(scheduler: Scheduler): void {
  const step = scheduler.plan();
  if (step) scheduler.complete(step, [1, 1]);
}

/** Pages by what they hold. */
function counts(scheduler: Scheduler): Record<string, number> {
  const sums: Record<string, number> = { free: 0, raw: 0, capsule: 0, cached: 0 };
  for (const { kind, pages } of pageRunsOf(scheduler.pageKinds(), Infinity))
    sums[kind] = (sums[kind] ?? 0) + pages;
  return sums;
}

describe('pages by their kinds', () => {
  it('are those that requests hold, then those that only the cache holds, and free ones', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 4 });
    expect(counts(scheduler)).toEqual({ free: 64, raw: 0, capsule: 0, cached: 0 });
    scheduler.add({ id: 'a', promptTokens: 40, pictures: [], content: { root: ROOT, tokenIds } });
    run(scheduler);
    expect(counts(scheduler)).toEqual({ free: 40, raw: 24, capsule: 0, cached: 0 });
    expect(scheduler.cachedContentTokens).toBe(0);
    scheduler.finish('a');
    const { cachedPages } = scheduler.pool;
    expect(cachedPages).toBeGreaterThan(0);
    expect(counts(scheduler)).toEqual({ free: 64 - cachedPages, raw: 0, capsule: 0, cached: cachedPages });
    expect(scheduler.cachedContentTokens).toBe(40);
  });

  it('are capsules where a picture is stored by a codec', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 4 });
    scheduler.add({ id: 'a', promptTokens: 40, pictures: [picture(4, 20, 0, 3)] });
    for (let steps = 0; steps < 4; steps += 1) run(scheduler);
    const { heldPages } = scheduler.pool;
    const { raw = 0, capsule = 0 } = counts(scheduler);
    expect(capsule).toBe(3);
    expect([raw + capsule, scheduler.holdings().get(undefined)?.pages]).toEqual([heldPages, raw]);
  });
});

describe('runs of pages', () => {
  it('are one behind the other, and no more than may be', () => {
    const kinds = Uint8Array.of(0, 0, 1, 2, 2, 2, 3);
    expect(pageRunsOf(kinds, 10)).toEqual([
      { kind: 'free', pages: 2 },
      { kind: 'raw', pages: 1 },
      { kind: 'capsule', pages: 3 },
      { kind: 'cached', pages: 1 },
    ]);
    expect(pageRunsOf(kinds, 2)).toHaveLength(2);
    expect(pageRunsOf(new Uint8Array(0), 2)).toEqual([]);
  });
});
