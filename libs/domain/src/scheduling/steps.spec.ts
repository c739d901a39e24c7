import { describe, expect, it } from 'vitest';

import { ROOT } from '../testing/request-scripts.js';
import { Scheduler } from './scheduler.js';
import type { ScheduledStep } from './step.js';

/** Two whose blocks do not fit together for long; returns the step that swaps the young one out. */
function swapping(): { scheduler: Scheduler; step: ScheduledStep } {
  const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 4, swapPages: 16 });
  for (const [first, id] of ['old', 'young'].entries()) {
    const tokenIds = Array.from({ length: 15 }, (_, at) => 100 * first + at);
    scheduler.add({ id, promptTokens: 15, pictures: [], content: { root: ROOT, tokenIds } });
  }
  for (let step = scheduler.plan(); step; step = scheduler.plan()) {
    if (step.reads.length > 0) return { scheduler, step };
    scheduler.complete(step, []);
  }
  throw new Error('nobody is swapped out');
}

describe('steps of the scheduler', () => {
  it('close a slot that was given up when there was no step to close it', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 2 });
    const add = (id: string) => {
      scheduler.add({ id, promptTokens: 5, pictures: [] });
      return scheduler.plan();
    };
    const first = add('a');
    if (first) scheduler.complete(first, []);
    scheduler.finish('a');
    expect(scheduler.plan()).toBeUndefined();
    const second = add('b');
    expect(second?.changes.slice(0, 2)).toEqual([
      { kind: 'close', slot: 0 },
      { kind: 'open', slot: 0 },
    ]);
    expect(second?.slots).toEqual([0]);
  });

  it('take newcomers in also while another is under way', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 5, pictures: [] });
    scheduler.plan();
    scheduler.add({ id: 'b', promptTokens: 5, pictures: [] });
    expect(scheduler.plan(true)?.chunks.map(({ id }) => id)).toEqual(['a', 'b']);
  });

  it('name what they draw: who asks with an answer as its prompt finds that', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 2 });
    const tokenIds = Array.from({ length: 15 }, (_, at) => at);
    const content = (ids: readonly number[]) => ({ content: { root: ROOT, tokenIds: ids } });
    scheduler.add({ id: 'a', promptTokens: 15, pictures: [], ...content(tokenIds) });
    const drawn: number[] = [];
    for (let token = 100; drawn.length < 18; token += 1) {
      const step = scheduler.plan();
      if (!step) throw new Error('no step');
      scheduler.complete(step, [token]);
      drawn.push(token);
    }
    scheduler.finish('a');
    const prompt = [...tokenIds, ...drawn];
    scheduler.add({ id: 'b', promptTokens: 33, pictures: [], ...content(prompt) });
    scheduler.plan();
    expect(scheduler.cachedTokens('b')).toBe(32);
  });

  it('fail those who take part, and nobody once they are complete', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 1 });
    for (const id of ['a', 'waits']) scheduler.add({ id, promptTokens: 5, pictures: [] });
    const [first, second] = [scheduler.plan(), scheduler.plan(true)] as [ScheduledStep, ScheduledStep];
    scheduler.complete(first, [1]);
    expect(scheduler.fail(first)).toEqual([]);
    expect([scheduler.fail(second), scheduler.waiting]).toEqual([['a'], ['waits']]);
  });

  it('fail also those whose pages they move', () => {
    const { scheduler, step } = swapping();
    expect(scheduler.waiting).toEqual(['young']);
    expect(scheduler.fail(step)).toEqual(['old', 'young']);
    expect([scheduler.waiting, scheduler.pool.heldPages]).toEqual([[], 0]);
  });

  it('end who waits swapped out, and leave nothing of it in the cache', () => {
    const { scheduler, step } = swapping();
    scheduler.complete(step, []);
    const cached = scheduler.pool.cachedPages;
    expect(scheduler.finish('young')).toBe(true);
    expect([scheduler.pool.cachedPages, scheduler.waiting]).toEqual([cached, []]);
  });

  it('bring nothing back while another is under way', () => {
    const { scheduler, step } = swapping();
    scheduler.complete(step, []);
    const under = scheduler.plan() as ScheduledStep;
    scheduler.finish('old');
    expect(scheduler.plan(true)).toBeUndefined();
    scheduler.complete(under, []);
    expect(scheduler.plan()?.writes.map(({ id }) => id)).toEqual(['young']);
  });
});
