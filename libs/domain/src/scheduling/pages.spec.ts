import { describe, expect, it } from 'vitest';

import { picture, ROOT } from '../testing/request-scripts.js';
import { Scheduler } from './scheduler.js';

const tokenIds = Array.from({ length: 40 }, (_, at) => at % 7);

/** Plans a step and takes its outcome in; tokens of the request are computed so far. */
function step(scheduler: Scheduler, id: string): number {
  const planned = scheduler.plan();
  if (planned) scheduler.complete(planned, [1, 1, 1]);
  return scheduler.pages(id).tokens;
}

describe('what a request holds', () => {
  it('is nothing for one that is not here', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 16, maxRunning: 2 });
    const nothing = { held: 0, peak: 0, tokens: 0, prefilling: false, running: false };
    expect(scheduler.pages('a')).toEqual(nothing);
    expect([scheduler.has('a'), scheduler.cachedTokens('a'), scheduler.finish('a')]).toEqual([
      false,
      0,
      false,
    ]);
    scheduler.ready('a');
    expect(scheduler.plan()).toBeUndefined();
  });

  it('has its peak where the rows that are missing will stand', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 20, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 40, pictures: [] });
    expect(scheduler.pages('a')).toMatchObject({ held: 0, peak: 24, prefilling: true, running: false });
    step(scheduler, 'a');
    expect(scheduler.pages('a')).toMatchObject({
      held: 16,
      peak: 24,
      tokens: 20,
      prefilling: true,
      running: true,
    });
    step(scheduler, 'a');
    expect(scheduler.pages('a')).toMatchObject({ held: 24, peak: 24, tokens: 40, prefilling: false });
  });

  it('is its part of what it shares', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 64, maxRunning: 4 });
    const content = { root: ROOT, tokenIds };
    for (const id of ['a', 'b', 'c']) {
      scheduler.add({ id, promptTokens: 40, pictures: [], content });
      step(scheduler, id);
    }
    expect(scheduler.cachedTokens('c')).toBe(32);
    // two blocks of three users, and a block of its own
    const held = () => ['a', 'b', 'c'].map((id) => scheduler.pages(id).held);
    expect(held()).toEqual([14, 14, 14]);
    expect([scheduler.pool.heldPages, scheduler.holdings().get(undefined)?.pages]).toEqual([40, 40]);
    scheduler.finish('c');
    expect(held()).toEqual([16, 16, 0]);
    scheduler.finish('b');
    expect(held()).toEqual([24, 0, 0]);
    // what has ended leaves the block at its end in the cache
    expect(scheduler.pool).toMatchObject({
      heldPages: 24,
      cachedPages: 16,
      freePages: 104,
      capacityPages: 128,
    });
  });
});

describe('whose pages may have changed', () => {
  it('is whoever prefills, has just ended that, or has got a block', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 16, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 30, pictures: [] });
    expect(scheduler.takeChanged()).toEqual([]);
    expect(step(scheduler, 'a')).toBe(16);
    expect([scheduler.takeChanged(), scheduler.takeChanged()]).toEqual([['a'], ['a']]);
    expect(step(scheduler, 'a')).toBe(30);
    expect([scheduler.takeChanged(), scheduler.takeChanged()]).toEqual([['a'], []]);
    const changedAt: number[] = [];
    for (let tokens = step(scheduler, 'a'); tokens < 50; tokens = step(scheduler, 'a'))
      if (scheduler.takeChanged().length > 0) changedAt.push(tokens);
    expect(changedAt).toEqual([33, 49]);
  });

  it('is everybody when content has got or lost one of several users', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 64, maxRunning: 4 });
    const content = { root: ROOT, tokenIds };
    scheduler.add({ id: 'a', promptTokens: 40, pictures: [], content });
    scheduler.add({ id: 'other', promptTokens: 5, pictures: [] });
    step(scheduler, 'a');
    scheduler.takeChanged();
    scheduler.add({ id: 'b', promptTokens: 40, pictures: [], content });
    step(scheduler, 'b');
    expect(scheduler.takeChanged()).toEqual(['a', 'other', 'b']);
    expect(scheduler.takeChanged()).toEqual([]);
    scheduler.finish('b');
    expect(scheduler.takeChanged()).toEqual(['a', 'other']);
    scheduler.finish('other');
    expect(scheduler.takeChanged()).toEqual([]);
  });
});

describe('what the cache saves', () => {
  it('is counted once for each request, of its prompt alone', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 64, maxRunning: 4 });
    const content = { root: ROOT, tokenIds };
    const counts = (id: string) => [
      scheduler.cachedTokens(id),
      scheduler.counters.prefixHitTokens,
      scheduler.counters.prefixTokens,
    ];
    scheduler.add({ id: 'cold', promptTokens: 40, pictures: [], content });
    expect(step(scheduler, 'cold')).toBe(40);
    expect(counts('cold')).toEqual([0, 0, 40]);
    scheduler.finish('cold');
    scheduler.add({ id: 'again', promptTokens: 40, pictures: [], content });
    expect(counts('again')).toEqual([0, 0, 40]);
    // its newest token is computed, whatever is there
    expect(step(scheduler, 'again')).toBe(40);
    expect(counts('again')).toEqual([39, 39, 80]);
    step(scheduler, 'again');
    expect(counts('again')).toEqual([39, 39, 80]);
    scheduler.add({ id: 'unnamed', promptTokens: 40, pictures: [] });
    step(scheduler, 'unnamed');
    expect(counts('unnamed')).toEqual([0, 39, 120]);
    expect(scheduler.counters).toMatchObject({ recomputedTokens: 0, preemptions: 0, evictedPages: 0 });
  });
});

describe('a request', () => {
  const codeOf = (act: () => void): unknown => {
    try {
      act();
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
    return undefined;
  };

  it('is refused without a prompt, under a name in use, and where it can never fit', () => {
    const scheduler = new Scheduler({ blocks: 2, maxStepTokens: 16, maxRunning: 2 });
    const add = (id: string, promptTokens: number) =>
      codeOf(() => {
        scheduler.add({ id, promptTokens, pictures: [] });
      });
    expect([add('a', 0), add('a', 1), add('a', 1)]).toEqual([
      'INVALID_REQUEST',
      undefined,
      'INVALID_REQUEST',
    ]);
    expect([add('b', 32), add('c', 31)]).toEqual(['KV_CAPACITY_EXCEEDED', undefined]);
    expect(scheduler.waiting).toEqual(['a', 'c']);
  });

  it('is told how many of its first pictures are cached, whose features it does not need', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 100, maxRunning: 2 });
    const request = (id: string, last: number) => {
      const shown = [1, last].map((sha, index) => ({
        ...picture(4 + 18 * index, 18, 0, 3),
        content: { codec: 'capsule', profileId: 'p', contentSha256: Uint8Array.of(sha) },
      }));
      const content = { root: ROOT, tokenIds };
      return { id, promptTokens: 40, pictures: shown, content, maxTokens: 2 };
    };
    const first = request('a', 2);
    expect(scheduler.cachedPictures(first)).toBe(0);
    scheduler.add(first);
    for (let planned = scheduler.plan(); planned; planned = scheduler.plan())
      scheduler.complete(planned, [1]);
    expect(scheduler.cachedPictures(first)).toBe(2);
    expect(scheduler.cachedPictures(request('b', 3))).toBe(1);
    const { content, ...unnamed } = first;
    expect([content.tokenIds.length, scheduler.cachedPictures(unnamed)]).toEqual([40, 0]);
  });
});

describe('how a prompt is kept', () => {
  const text = { stored: { format: 1, pages: 9 }, tokens: 32, form: { codec: 'q8', profileId: '' } };

  it('is in the runs of its text’s form, beside pictures in theirs, without what is generated', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 200, maxRunning: 2 });
    const shown = picture(70, 24, 4, 3);
    scheduler.add({ id: 'a', promptTokens: 100, pictures: [shown], text, maxTokens: 40 });
    const raw = { picture: undefined, format: undefined, restTokens: 0 };
    const kept = [
      { start: 0, tokens: 32, ...raw, format: 1, pages: 9 },
      { start: 32, tokens: 32, ...raw, format: 1, pages: 9 },
      { start: 64, tokens: 6, ...raw, pages: 8 },
      { start: 70, tokens: 24, picture: 0, format: 0, restTokens: 4, pages: 11 },
      { start: 94, tokens: 6, ...raw, pages: 8 },
    ];
    expect(scheduler.describe('a')).toEqual(kept);
    for (let computed = 0; computed < 130; computed = step(scheduler, 'a'));
    expect(scheduler.describe('a')).toEqual(kept);
  });

  it('ends with a picture where nothing follows it', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 200, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 20, pictures: [picture(0, 20, 0, undefined)] });
    expect(scheduler.describe('a')).toEqual([
      { start: 0, tokens: 20, picture: 0, format: undefined, restTokens: 0, pages: 16 },
    ]);
  });

  it('is still told of one that the last plan found exhausted', () => {
    const scheduler = new Scheduler({ blocks: 1, maxStepTokens: 200, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 15, pictures: [] });
    const ended: string[] = [];
    while (ended.length === 0) {
      const planned = scheduler.plan();
      ended.push(...(planned?.exhausted ?? ['nobody']));
      if (planned) scheduler.complete(planned, [1]);
    }
    expect([ended, scheduler.describe('a').map(({ tokens }) => tokens)]).toEqual([['a'], [15]]);
    scheduler.plan();
    expect(scheduler.describe('a')).toEqual([]);
  });
});
