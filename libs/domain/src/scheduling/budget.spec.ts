import { describe, expect, it } from 'vitest';

import { Scheduler } from './scheduler.js';
import { stepBudget, type StepLimits } from './budget.js';
import type { Sequence } from './sequence/sequence.js';

/** Runs requests of so many prompt tokens until all that fit are running, one after the other. */
function running(limits: StepLimits, ...prompts: number[]): Scheduler {
  const scheduler = new Scheduler({ blocks: 64, maxRunning: 8, ...limits });
  for (const [index, promptTokens] of prompts.entries()) {
    scheduler.add({ id: `r${index}`, promptTokens, pictures: [] });
    const step = scheduler.plan();
    if (step) scheduler.complete(step, []);
  }
  return scheduler;
}

const rowsOf = (scheduler: Scheduler) => scheduler.plan()?.chunks.map(({ id, rows }) => [id, rows]);

describe('rows of a step', () => {
  it('go to prefills in their order, behind all decodes, as far as they last', () => {
    const scheduler = running({ maxStepTokens: 20 }, 4, 50);
    scheduler.add({ id: 'last', promptTokens: 30, pictures: [] });
    expect(rowsOf(scheduler)).toEqual([
      ['r0', 1],
      ['r1', 19],
    ]);
  });

  it('are as many as a step has for prefills alone, and fewer beside a decode', () => {
    const scheduler = new Scheduler({ blocks: 64, maxRunning: 8, maxStepTokens: 20, maxPrefillChunk: 5 });
    scheduler.add({ id: 'a', promptTokens: 12, pictures: [] });
    scheduler.add({ id: 'b', promptTokens: 30, pictures: [] });
    expect(rowsOf(scheduler)).toEqual([
      ['a', 12],
      ['b', 8],
    ]);
    expect(rowsOf(scheduler)).toEqual([
      ['a', 1],
      ['b', 5],
    ]);
  });

  it('are no more prefill than the engine has time for, beside a decode or without one', () => {
    const scheduler = new Scheduler({ blocks: 64, maxRunning: 8, maxStepTokens: 20, maxPrefillChunk: 5 });
    scheduler.add({ id: 'a', promptTokens: 7, pictures: [] });
    scheduler.add({ id: 'b', promptTokens: 30, pictures: [] });
    const rows = (most: number) => scheduler.plan(false, most)?.chunks.map(({ id, rows }) => [id, rows]);
    expect(rows(6)).toEqual([['a', 6]]);
    expect(rows(6)).toEqual([
      ['a', 1],
      ['b', 5],
    ]);
    expect(rows(3)).toEqual([
      ['a', 1],
      ['b', 3],
    ]);
    expect(rows(8)).toEqual([
      ['a', 1],
      ['b', 5],
    ]);
  });

  it('are never more than a step has, whatever a prefill may take beside decodes', () => {
    const scheduler = running({ maxStepTokens: 8, maxPrefillChunk: 8 }, 1, 1, 50);
    expect(rowsOf(scheduler)).toEqual([
      ['r0', 1],
      ['r1', 1],
      ['r2', 6],
    ]);
  });

  it('are one for each of the first decodes, and none for prefills when they are given out', () => {
    const sequenceOf = (rowsInStep: number) =>
      ({ progress: { decoding: rowsInStep === 1, rowsInStep } }) as unknown as Sequence;
    const budgetOf = (maxStepTokens: number, ...rows: number[]) =>
      [...stepBudget(rows.map(sequenceOf), { maxStepTokens }).rows].map(([{ progress }, count]) => [
        progress.rowsInStep,
        count,
      ]);
    expect(budgetOf(2, 30, 1, 1, 1)).toEqual([
      [1, 1],
      [1, 1],
    ]);
    expect(budgetOf(20, 12, 30, 40)).toEqual([
      [12, 12],
      [30, 8],
    ]);
  });
});
