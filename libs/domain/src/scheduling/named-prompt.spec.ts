import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

import type { ContentUnit } from '../identity/index.js';
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

function unitsOf(asked: Parameters<typeof promptUnits>[0]): ContentUnit[] {
  const all: ContentUnit[] = [];
  const units = promptUnits(asked, BLOCK_SHAPE);
  for (let unit = units.next(); unit; unit = units.next()) all.push(unit);
  return all;
}

describe('promptUnits', () => {
  it('are those that the prompt is named by', () => {
    fc.assert(
      fc.property(requestShape, (shape) => {
        const { request: asked } = toScript({ ...shape, named: true }, 0);
        const { names } = namePrompt(asked, BLOCK_SHAPE).content ?? {};
        expect(unitsOf(asked)).toEqual(names?.units);
      }),
      { numRuns: 200, seed: 37 },
    );
  });

  it('are none where nothing is named', () => {
    const { content, ...plain } = request;
    expect(unitsOf(plain)).toEqual([]);
    expect(unitsOf({ ...plain, content })).toHaveLength(2);
  });
});
