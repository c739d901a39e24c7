import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fullRuns } from '../testing/full-runs.js';
import { requestShape, type Script, toScript } from '../testing/request-scripts.js';
import { SchedulerHarness } from '../testing/scheduler-harness.js';
import { Scheduler } from './scheduler.js';
import type { SchedulerOptions } from './state.js';
import type { ScheduledRequest } from './step.js';

function unnamed(request: ScheduledRequest): ScheduledRequest {
  const copy: { -readonly [Key in keyof ScheduledRequest]: ScheduledRequest[Key] } = { ...request };
  delete copy.content;
  return copy;
}

/** Whether a request with an answer of so many tokens is let in where the pool is empty. */
function isAdmitted(options: SchedulerOptions, request: ScheduledRequest, answerTokens: number): boolean {
  try {
    // the last token needs no room
    const promptTokens = request.promptTokens + answerTokens - 1;
    new Scheduler(options).add(unnamed({ ...request, promptTokens }));
    return true;
  } catch {
    return false;
  }
}

/** The same request with text behind it, as much as the pool has room for. */
function filling(options: SchedulerOptions, script: Script, spare: number): Script {
  const { request } = script;
  let promptTokens = request.promptTokens;
  while (isAdmitted(options, { ...request, promptTokens: promptTokens + 1 }, script.answerTokens))
    promptTokens += 1;
  promptTokens = Math.max(request.promptTokens, promptTokens - spare);
  const tokenIds = Array.from({ length: promptTokens }, (_, at) => script.tokenIds[at] ?? at % 5);
  const content = request.content && { content: { ...request.content, tokenIds } };
  return { ...script, tokenIds, request: { ...request, promptTokens, ...content } };
}

describe('A request that is alone', () => {
  it('gets all that the empty pool has room for, whatever is cached', () => {
    const world = fc.record({
      before: fc.array(requestShape, { minLength: 1, maxLength: 10, size: 'max' }),
      lone: requestShape,
      spare: fc.option(fc.nat(20), { nil: undefined, freq: 6 }),
      blocks: fc.integer({ min: 7, max: 22 }),
      maxStepTokens: fc.integer({ min: 10, max: 60 }),
      maxRunning: fc.integer({ min: 1, max: 6 }),
      ahead: fc.boolean(),
    });
    const seen = { full: 0, cached: 0, restarts: 0 };
    fc.assert(
      fc.property(world, ({ before, lone, spare, ahead, ...options }) => {
        const scripts = before.map((shape, index) => toScript({ ...shape, named: true }, index));
        const asked = { ...toScript(lone, scripts.length), arriveAt: -1, abortAt: undefined };
        if (!isAdmitted(options, asked.request, asked.answerTokens)) return;
        const script = spare === undefined ? asked : filling(options, asked, spare);
        const run = new SchedulerHarness(options, [...scripts, script], new Set(), ahead);
        let tick = 0;
        for (; run.ended.size < scripts.length; tick += 1) run.tick(tick);
        const { cachedPages } = run.scheduler.pool;
        const { preemptions } = run.scheduler.counters;
        run.arrive(script);
        for (; !run.ended.has(script.request.id); tick += 1) run.tick(tick);
        expect(run.ended.get(script.request.id)).toBe('done');
        if (cachedPages > 0) seen.cached += 1;
        if (spare !== undefined) seen.full += 1;
        seen.restarts += run.scheduler.counters.preemptions - preemptions;
      }),
      { numRuns: fullRuns(400, 20_000), seed: 17 },
    );
    for (const [name, count] of Object.entries(seen)) expect(count, name).toBeGreaterThan(0);
  }, 1_800_000);
});
