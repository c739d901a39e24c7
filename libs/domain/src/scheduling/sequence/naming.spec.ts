import { describe, expect, it } from 'vitest';

import type { CacheEntry } from '../../paging/index.js';
import { picture, ROOT } from '../../testing/request-scripts.js';
import { Scheduler } from '../scheduler.js';
import { Naming } from './naming.js';
import { Progress } from './progress.js';
import { SequenceTable } from './table.js';

const SHAPE = { blockTokens: 16, pagesPerBlock: 8 };
const ids = Array.from({ length: 100 }, (_, at) => at);
const text = { stored: { format: 1, pages: 9 }, tokens: 32, form: { codec: 'q8', profileId: '' } };

describe('names of what a sequence computes', () => {
  /** Tokens that the cache has of requests of so many tokens, which come one after the other. */
  const cachedOf = (...prompts: readonly number[]): number[] => {
    const scheduler = new Scheduler({ blocks: 32, maxStepTokens: 100, maxRunning: 2 });
    return prompts.map((promptTokens, index) => {
      const content = { root: ROOT, tokenIds: ids.slice(0, promptTokens) };
      scheduler.add({ id: `r${index}`, promptTokens, maxTokens: 1, pictures: [], text, content });
      for (let step = scheduler.plan(); step; step = scheduler.plan()) scheduler.complete(step, [0]);
      const cached = scheduler.cachedTokens(`r${index}`);
      scheduler.finish(`r${index}`);
      return cached;
    });
  };

  it('go on behind runs that another has named, and blocks that it began one with', () => {
    expect(cachedOf(50, 70, 70)).toEqual([0, 50, 69]);
  });

  it('begin with a run of which another has computed a block alone', () => {
    expect(cachedOf(20, 40, 40)).toEqual([0, 20, 39]);
  });

  it('are left to whoever was first, where two compute the same at one time', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 100, maxRunning: 2 });
    const content = { root: ROOT, tokenIds: ids.slice(0, 40) };
    for (const id of ['a', 'b']) scheduler.add({ id, promptTokens: 40, maxTokens: 1, pictures: [], content });
    for (let step = scheduler.plan(); step; step = scheduler.plan()) scheduler.complete(step, [0, 0]);
    expect([scheduler.pages('a').held, scheduler.pages('b').held]).toEqual([24, 24]);
    for (const id of ['a', 'b']) scheduler.finish(id);
    expect(scheduler.pool).toMatchObject({ heldPages: 0, cachedPages: 24 });
  });

  it('are none where a picture has no content to be named by', () => {
    const pictures = [picture(0, 20, 0, 3)];
    const content = { root: ROOT, tokenIds: ids.slice(0, 40) };
    const progress = new Progress({ id: 'a', promptTokens: 40, pictures, content }, SHAPE);
    expect(new Naming(progress, new SequenceTable(SHAPE)).chain).toBeUndefined();
  });

  it('say what it shares, as often as somebody else uses it', () => {
    const content = { root: ROOT, tokenIds: ids.slice(0, 32) };
    const progress = new Progress({ id: 'a', promptTokens: 32, pictures: [], content }, SHAPE);
    const naming = new Naming(progress, new SequenceTable(SHAPE));
    const entries = [1, 2, 4].map((users) => ({ users, pages: 8 }) as CacheEntry);
    naming.attach({ entries, tokens: 0, partial: undefined });
    expect(naming.sharedAway(1)).toBe(4 + 6);
    for (const entry of entries) entry.users = 1;
    expect([naming.sharedAway(1), naming.sharedAway(2)]).toEqual([10, 0]);
  });
});
