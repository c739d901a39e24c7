import { describe, expect, it, vi } from 'vitest';

import { BLOCK_SHAPE } from '../paging/index.js';
import { ROOT } from '../testing/request-scripts.js';
import { namePrompt, Scheduler } from './index.js';

const tokenIds = Array.from({ length: 40 }, (_, index) => index);
const request = { id: 'r', promptTokens: 40, maxTokens: 1, pictures: [], content: { root: ROOT, tokenIds } };

describe('namePrompt', () => {
  it('makes names once, which the scheduler goes on from', () => {
    const named = namePrompt(request, BLOCK_SHAPE);
    expect(namePrompt(named, BLOCK_SHAPE)).toBe(named);
    const { names } = named.content ?? {};
    expect(names?.units.map(({ start }) => start)).toEqual([0, 16]);
    const fork = vi.spyOn(names as NonNullable<typeof names>, 'fork');
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 2 });
    scheduler.cachedPictures(named);
    scheduler.add(named);
    expect(fork).toHaveBeenCalledTimes(1);
    const first = scheduler.plan();
    if (first) scheduler.complete(first, [7]);
    scheduler.finish('r');
    // found under the names that are made without
    scheduler.add(request);
    scheduler.plan();
    expect(scheduler.cachedTokens('r')).toBe(39);
  });

  it('leaves a request alone that names nothing', () => {
    const { content, ...plain } = request;
    expect(namePrompt(plain, BLOCK_SHAPE)).toBe(plain);
    expect(content.tokenIds).toHaveLength(40);
  });
});
