import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

import { BLOCK_SHAPE } from '../paging/index.js';
import { requestShape, ROOT, toScript } from '../testing/request-scripts.js';
import { namePrompt, promptUnits, Scheduler } from './index.js';

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

describe('promptUnits', () => {
  it('are those that the prompt is named by', () => {
    fc.assert(
      fc.property(requestShape, (shape) => {
        const { request: asked } = toScript({ ...shape, named: true }, 0);
        const { names } = namePrompt(asked, BLOCK_SHAPE).content ?? {};
        expect([...promptUnits(asked, BLOCK_SHAPE)]).toEqual(names?.units);
      }),
      { numRuns: 200, seed: 37 },
    );
  });

  it('are none where nothing is named', () => {
    const { content, ...plain } = request;
    expect([...promptUnits(plain, BLOCK_SHAPE)]).toEqual([]);
    expect([...promptUnits({ ...plain, content }, BLOCK_SHAPE)]).toHaveLength(2);
  });
});
