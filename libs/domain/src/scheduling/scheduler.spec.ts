import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fullRuns } from '../testing/full-runs.js';
import { expectedAnswer, PageTables } from '../testing/page-tables.js';
import { everyOther, picture, requestShape, ROOT, type Shape, toScript } from '../testing/request-scripts.js';
import { SchedulerHarness } from '../testing/scheduler-harness.js';
import { Scheduler } from './scheduler.js';
import type { ScheduledStep } from './step.js';

const scenario = fc.record({
  shapes: fc.array(requestShape, { minLength: 1, maxLength: 14, size: 'max' }),
  blocks: fc.integer({ min: 7, max: 22 }),
  maxStepTokens: fc.integer({ min: 1, max: 60 }),
  maxPrefillChunk: fc.integer({ min: 1, max: 60 }),
  maxRunning: fc.integer({ min: 1, max: 8 }),
  swapPages: fc.constantFrom(0, 0, 60, 1_000),
  failAt: fc.array(fc.nat(300), { maxLength: 2 }),
  ahead: fc.boolean(),
});

/** A picture becomes a capsule and its request is preempted, both in one step. */
const RECOMPRESSED_THEN_PREEMPTED: ReturnType<typeof scenario.generate>['value'] = {
  shapes: [
    plain(0, 18, 0),
    plain(0, 7, 11),
    {
      ...plain(31, 3, 13),
      parts: [
        { text: 5, markers: 0, covered: 20, shows: 0, kept: 'raw' },
        { text: 16, markers: 3, covered: 20, shows: 0, kept: 'pressed' },
      ],
    },
    plain(33, 17, 1),
    { ...plain(38, 12, 5), parts: [{ text: 16, markers: 0, covered: 20, shows: 0, kept: 'raw' }] },
    plain(0, 1, 0),
  ],
  ...{
    blocks: 22,
    maxStepTokens: 39,
    maxPrefillChunk: 37,
    maxRunning: 5,
    swapPages: 0,
    failAt: [],
    ahead: false,
  },
};

function plain(tail: number, answerTokens: number, arriveAt: number): Shape {
  const same = {
    document: 0,
    fork: 0,
    parts: [],
    text: 'raw' as const,
    named: false,
    bounded: false,
    priority: 0,
    abortAt: undefined,
  };
  return { ...same, tail, answerTokens, arriveAt };
}

describe('Scheduler', () => {
  it('answers as cold whatever is cached, moved or preempted, ends every request and leaves nothing behind', () => {
    const counted = {
      ...{ recompressions: 0, textRecompressions: 0, swapsOut: 0, preemptions: 0, recomputedTokens: 0 },
      ...{ prefixHitTokens: 0, evictedPages: 0 },
    };
    const seen = { ...counted, wasted: 0 };
    let operations = 0;
    fc.assert(
      fc.property(scenario, ({ shapes, failAt, ahead, ...options }) => {
        const scripts = shapes.map(toScript);
        const run = new SchedulerHarness(options, scripts, new Set(failAt), ahead);
        for (let tick = 0; run.ended.size < scripts.length; tick += 1) {
          const worked = run.tick(tick);
          if (!worked && tick > 90) throw new Error('requests are left that nobody works on');
          if (tick > 20_000) throw new Error('it does not end');
        }
        const { pool, running, waiting, counters } = run.scheduler;
        expect(pool.freePages).toBe(pool.capacityPages);
        expect([running, waiting]).toEqual([[], []]);
        expect(counters.swapsIn).toBeLessThanOrEqual(counters.swapsOut);
        // who is stopped while it is computed again never gets through
        const allDone = [...run.ended.values()].every((how) => how === 'done' || how === 'refused');
        if (allDone) expect(counters.recomputedTokens).toBe(run.repeatedRows);
        else expect(counters.recomputedTokens).toBeGreaterThanOrEqual(run.repeatedRows);
        for (const key of Object.keys(counted) as (keyof typeof counted)[]) seen[key] += counters[key];
        operations += run.operations;
        seen.wasted += run.wasted;
      }),
      { numRuns: fullRuns(400, 20_000), seed: 5, examples: [[RECOMPRESSED_THEN_PREEMPTED]] },
    );
    // every rung was stood on
    for (const [name, count] of Object.entries(seen)) expect(count, name).toBeGreaterThan(20);
    expect(operations).toBeGreaterThan(fullRuns(20_000, 1_000_000));
  }, 1_800_000);

  it('runs decodes before prefill and cuts prefill at the budget', () => {
    const scheduler = new Scheduler({ blocks: 64, maxStepTokens: 20, maxRunning: 4 });
    scheduler.add({ id: 'a', promptTokens: 4, pictures: [] });
    const first = scheduler.plan();
    expect(first?.samples).toEqual([{ id: 'a', row: 3 }]);
    if (first) scheduler.complete(first, []);
    scheduler.add({ id: 'b', promptTokens: 50, pictures: [] });
    const second = scheduler.plan();
    expect(second?.chunks.map(({ id, start, rows }) => [id, start, rows])).toEqual([
      ['a', 4, 1],
      ['b', 0, 19],
    ]);
    expect(second?.samples).toEqual([{ id: 'a', row: 0 }]);
  });

  it('plans ahead of what a step draws, up to the length of the answer', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 1 });
    scheduler.add({ id: 'a', promptTokens: 16, pictures: [], maxTokens: 3 });
    const steps = [scheduler.plan(), scheduler.plan(true)];
    const rowsOf = (step: ScheduledStep | undefined) => step?.chunks.map(({ start, rows }) => [start, rows]);
    expect(steps.map(rowsOf)).toEqual([[[0, 16]], [[16, 1]]]);
    expect(steps.map((step) => step?.samples.length)).toEqual([1, 1]);
    for (const step of steps) if (step) expect(scheduler.complete(step, [])).toHaveLength(1);
    const last = scheduler.plan();
    expect(rowsOf(last)).toEqual([[17, 1]]);
    expect(scheduler.plan(true)).toBeUndefined();
    if (last) expect(scheduler.complete(last, [])).toHaveLength(1);
    expect(scheduler.plan()).toBeUndefined();
    expect(scheduler.pages('a')).toMatchObject({ held: 16, tokens: 18 });
  });

  it('counts no token of a request that has ended, not even for another of its name', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 16, pictures: [] });
    const steps = [scheduler.plan(), scheduler.plan(true)];
    expect(scheduler.finish('a')).toBe(true);
    expect(scheduler.pool.freePages).toBe(scheduler.pool.capacityPages);
    scheduler.add({ id: 'a', promptTokens: 4, pictures: [] });
    for (const step of steps) if (step) expect(scheduler.complete(step, [])).toEqual([]);
    const next = scheduler.plan();
    expect(next?.chunks.map(({ start, rows }) => [start, rows])).toEqual([[0, 4]]);
    expect(next?.changes[0]).toEqual({ kind: 'close', slot: 0 });
  });

  it('bounds prefill beside decodes, and only there', () => {
    const scheduler = new Scheduler({ blocks: 64, maxStepTokens: 100, maxPrefillChunk: 8, maxRunning: 4 });
    scheduler.add({ id: 'a', promptTokens: 40, pictures: [] });
    const first = scheduler.plan();
    expect(first?.rows).toBe(40);
    if (first) scheduler.complete(first, []);
    scheduler.add({ id: 'b', promptTokens: 11, pictures: [] });
    scheduler.add({ id: 'c', promptTokens: 30, pictures: [] });
    const rowsOf = (step: ScheduledStep | undefined) =>
      step?.chunks.map(({ id, start, rows }) => [id, start, rows]);
    const second = scheduler.plan();
    expect(rowsOf(second)).toEqual([
      ['a', 40, 1],
      ['b', 0, 8],
    ]);
    if (second) scheduler.complete(second, []);
    expect(rowsOf(scheduler.plan())).toEqual([
      ['a', 41, 1],
      ['b', 8, 3],
      ['c', 0, 5],
    ]);
  });

  it('admits by priority, then by arrival, and preempts in the opposite order', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 2 });
    for (const [id, priority] of [
      ['late', 5],
      ['first', 0],
      ['urgent', -3],
      ['second', 0],
    ] as const) {
      scheduler.add({ id, promptTokens: 3, pictures: [], priority });
    }
    const ended: string[] = [];
    for (let step = scheduler.plan(); step; step = scheduler.plan()) {
      if (ended.length === 0) expect(scheduler.running).toEqual(['urgent', 'first']);
      for (const { id } of scheduler.complete(step, [])) {
        if (scheduler.pages(id).tokens < 5) continue;
        scheduler.finish(id);
        ended.push(id);
      }
    }
    expect(ended).toEqual(['urgent', 'first', 'second', 'late']);
    scheduler.add({ id: 'old', promptTokens: 3, pictures: [], priority: 1 });
    scheduler.add({ id: 'young', promptTokens: 3, pictures: [] });
    for (let step = scheduler.plan(); step; step = scheduler.plan()) {
      if (step.preempted.length > 0) {
        expect(step.preempted).toEqual(['old']);
        return;
      }
      scheduler.complete(step, []);
    }
    throw new Error('nobody was preempted');
  });

  it('lets others pass one whose features are made again', () => {
    const scheduler = new Scheduler({ blocks: 7, maxStepTokens: 64, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 5, pictures: [] });
    scheduler.add({ id: 'b', promptTokens: 41, pictures: [picture(0, 40, 0, undefined)] });
    scheduler.add({ id: 'c', promptTokens: 5, pictures: [] });
    const run = () => {
      const step = scheduler.plan();
      if (step) scheduler.complete(step, []);
      return [scheduler.running, step?.preempted, step?.missing];
    };
    expect(run()).toEqual([['a', 'b'], [], []]);
    let last = run();
    while (scheduler.counters.preemptions === 0) last = run();
    expect(last).toEqual([['a'], ['b'], []]);
    expect(run()).toEqual([['a', 'c'], [], ['b']]);
    scheduler.ready('b');
    for (const id of ['a', 'c']) scheduler.finish(id);
    expect(run()).toEqual([['b'], [], []]);
  });

  it('makes what follows a compressed span wait for the next step', () => {
    const scheduler = new Scheduler({ blocks: 64, maxStepTokens: 500, maxRunning: 4 });
    scheduler.add({ id: 'a', promptTokens: 100, pictures: [picture(10, 60, 4, 3)] });
    const first = scheduler.plan();
    expect(first?.chunks.map(({ segment, start, rows }) => [segment, start, rows])).toEqual([
      [0, 0, 10],
      [1, 10, 60],
    ]);
    expect(first?.samples).toEqual([]);
    if (first) scheduler.complete(first, []);
    const second = scheduler.plan();
    expect(second?.changes.map(({ kind }) => kind)).toEqual(['compress', 'segment', 'blocks']);
    expect(second?.changes[0]).toMatchObject({ segment: 1, format: 0, restRows: [0, 2, 4, 6] });
    expect(second?.chunks).toMatchObject([{ segment: 3, start: 70, rows: 30 }]);
    expect(scheduler.pages('a').held).toBe((1 + 1 + 2) * 8 + 3);
    expect([...scheduler.holdings()]).toEqual([
      [undefined, { pages: 4 * 8, tokens: 10 + 4 + 30, pieces: 4 }],
      [0, { pages: 3, tokens: 56, pieces: 1 }],
    ]);
  });

  it('describes how a prompt is kept before it is computed, and after it was compressed under pressure', () => {
    const form = { codec: 'q8', profileId: '' };
    const underPressure = { stored: { format: 0, pages: 3 }, restRows: [0, 2], form };
    const span = { ...picture(20, 42, 4, undefined), restRows: [], underPressure };
    const textUnderPressure = { stored: { format: 1, pages: 5 }, tokens: 16, form };
    const scheduler = new Scheduler({ blocks: 9, maxStepTokens: 64, maxRunning: 4 });
    scheduler.add({ id: 'a', promptTokens: 70, pictures: [span], textUnderPressure, maxTokens: 80 });
    const raw = { picture: undefined, format: undefined, restTokens: 0 };
    const described = () => scheduler.describe('a');
    expect(described()).toEqual([
      { start: 0, tokens: 20, ...raw, pages: 16 },
      { start: 20, tokens: 42, ...raw, picture: 0, pages: 24 },
      { start: 62, tokens: 8, ...raw, pages: 8 },
    ]);
    while (scheduler.counters.textRecompressions === 0) {
      const step = scheduler.plan();
      if (!step) throw new Error('no pressure');
      scheduler.complete(step, []);
    }
    expect(described()).toEqual([
      { start: 0, tokens: 16, ...raw, format: 1, pages: 5 },
      { start: 16, tokens: 4, ...raw, pages: 8 },
      { start: 20, tokens: 42, picture: 0, format: 0, restTokens: 2, pages: 11 },
      { start: 62, tokens: 8, ...raw, pages: 8 },
    ]);
    expect(scheduler.describe('b')).toEqual([]);
  });

  it('preempts the youngest and keeps what it generated as text, not as prompt', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 4 });
    scheduler.add({ id: 'old', promptTokens: 16, pictures: [] });
    scheduler.add({ id: 'young', promptTokens: 15, pictures: [] });
    const counts = new Map<string, number>();
    const preempted: string[] = [];
    for (let step = scheduler.plan(); step; step = scheduler.plan()) {
      preempted.push(...step.preempted);
      for (const { id } of scheduler.complete(step, [])) {
        counts.set(id, (counts.get(id) ?? 0) + 1);
        if (counts.get(id) === 30) scheduler.finish(id);
      }
    }
    expect(preempted).toEqual(['young']);
    expect([...counts.values()]).toEqual([30, 30]);
  });

  it('ends a request that alone is more than the pool', () => {
    const scheduler = new Scheduler({ blocks: 1, maxStepTokens: 64, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 15, pictures: [] });
    const exhausted: string[] = [];
    for (let step = scheduler.plan(); step; step = scheduler.plan()) {
      exhausted.push(...step.exhausted);
      scheduler.complete(step, []);
    }
    expect(exhausted).toEqual(['a']);
    expect(scheduler.pool.freePages).toBe(8);
    expect(() => {
      scheduler.add({ id: 'b', promptTokens: 17, pictures: [] });
    }).toThrow('KV pages');
  });

  it('takes a prompt that fills the pool when its only token needs no room', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 2 });
    for (const [id, promptTokens, maxTokens] of [
      ['full', 64, 1],
      ['last block', 60, 5],
    ] as const) {
      scheduler.add({ id, promptTokens, pictures: [], maxTokens });
      const counted: string[] = [];
      for (let step = scheduler.plan(); step; step = scheduler.plan())
        counted.push(...scheduler.complete(step, []).map((sample) => sample.id));
      expect(counted).toHaveLength(maxTokens);
      expect(scheduler.finish(id)).toBe(true);
    }
  });

  it('goes on from the start of a cached prompt when the block to copy is the one that is missing', () => {
    const scheduler = new Scheduler({ blocks: 2, maxStepTokens: 64, maxRunning: 2 });
    const content = { root: ROOT, tokenIds: everyOther(20) };
    for (const [id, cached] of [
      ['cold', 0],
      ['again', 16],
    ] as const) {
      scheduler.add({ id, promptTokens: 20, pictures: [], maxTokens: 1, content });
      const step = scheduler.plan();
      if (step) scheduler.complete(step, [0]);
      expect([step?.samples.length, scheduler.cachedTokens(id)]).toEqual([1, cached]);
      scheduler.finish(id);
    }
  });

  it('evicts what keeps a tail from room beside pages in use before it sends anybody away', () => {
    const options = { maxStepTokens: 64, maxPrefillChunk: 1, maxRunning: 2, swapPages: 100 };
    const scheduler = new Scheduler({ blocks: 8, ...options });
    const show = (id: string, promptTokens: number, storedPages: readonly number[]) => {
      const pictures = storedPages.map((pages, index) => ({
        ...picture(32 * index, 32, 0, pages),
        content: { codec: 'capsule', profileId: 'p', contentSha256: Uint8Array.of(pages) },
      }));
      const content = { root: ROOT, tokenIds: everyOther(promptTokens) };
      scheduler.add({ id, promptTokens, pictures, maxTokens: 2, content });
    };
    const counted: string[] = [];
    const run = (until: string) => {
      while (!counted.includes(until)) {
        const step = scheduler.plan();
        if (!step) throw new Error(`${until} never gets a token`);
        counted.push(...scheduler.complete(step, [0, 0]).map(({ id }) => id));
      }
    };
    show('gone', 33, [5]);
    run('gone');
    scheduler.finish('gone');
    scheduler.add({ id: 'old', promptTokens: 9, pictures: [], priority: -1 });
    run('old');
    // its first capsule lies beside the one of five pages that is idle; the second would fit in the place of that
    show('young', 65, [3, 5]);
    run('young');
    expect(scheduler.counters).toMatchObject({
      ...{ evictedPages: 13, swapsOut: 0, preemptions: 0 },
      evictions: { fragmentation: 1 },
      rungs: { evict: 1, swap: 0, preempt: 0 },
    });
  });

  it('drops the requests of a failed step and closes their slots once', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 5, pictures: [] });
    const step = scheduler.plan();
    if (!step) throw new Error('no step');
    expect(scheduler.fail(step)).toEqual(['a']);
    scheduler.add({ id: 'b', promptTokens: 5, pictures: [] });
    expect(scheduler.plan()?.changes.map(({ kind }) => kind)).toEqual(['open', 'segment', 'blocks']);
    expect(scheduler.pool.heldPages).toBe(8);
  });

  it('swaps before it preempts, and goes on where it was', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 4, swapPages: 16 });
    const tables = new PageTables(4);
    const requests = new Map(['old', 'young'].map((id) => [id, { id, promptTokens: 15, pictures: [] }]));
    const answers = new Map([...requests.keys()].map((id): [string, number[]] => [id, []]));
    for (const request of requests.values()) scheduler.add(request);
    const prompt = everyOther(15);
    for (let step = scheduler.plan(); step; step = scheduler.plan()) {
      const drawn = tables.run(step, (id) => ({
        request: requests.get(id) ?? { id, promptTokens: 0, pictures: [] },
        tokens: [...prompt, ...(answers.get(id) ?? [])],
      }));
      const { samples } = step;
      for (const { id } of scheduler.complete(step, drawn)) {
        answers.get(id)?.push(drawn[samples.findIndex((sample) => sample.id === id)] ?? -1);
        if (answers.get(id)?.length === 40) scheduler.finish(id);
      }
    }
    const expected = expectedAnswer({ id: '', promptTokens: 15, pictures: [] }, prompt, 40);
    expect([...answers.values()]).toEqual([expected, expected]);
    expect(scheduler.counters).toMatchObject({ swapsOut: 1, swapsIn: 1, preemptions: 0, rungs: { swap: 1 } });
    expect(scheduler.swappedPages).toBe(0);
  });

  it('keeps no more pages elsewhere than it may, those of all who wait together', () => {
    const scheduler = new Scheduler({ blocks: 6, maxStepTokens: 200, maxRunning: 3, swapPages: 30 });
    for (const id of ['old', 'mid', 'young']) scheduler.add({ id, promptTokens: 15, pictures: [] });
    const moved: unknown[] = [];
    while (moved.length < 2) {
      const step = scheduler.plan();
      if (!step) throw new Error('nobody is sent away');
      scheduler.complete(step, []);
      if (step.reads.length + step.preempted.length > 0)
        moved.push([step.reads.map(({ pages }) => pages.length), step.preempted]);
    }
    // 16 and 24 pages would be more than 30
    expect(moved).toEqual([
      [[16], []],
      [[], ['mid']],
    ]);
  });

  it.each([
    ['raw', undefined],
    ['kept as rows', { format: 1, pages: 20 }],
  ])('compresses a picture that is %s before it moves a sequence', (_, stored) => {
    const scheduler = new Scheduler({ blocks: 14, maxStepTokens: 64, maxRunning: 4, swapPages: 100 });
    const form = { codec: 'capsule', profileId: 'p' };
    const underPressure = { stored: { format: 0, pages: 3 }, restRows: [0], form };
    for (const id of ['a', 'b']) {
      const span = { ...picture(2, 46, 0, undefined), stored, underPressure };
      scheduler.add({ id, promptTokens: 50, pictures: [span] });
    }
    const changes: unknown[] = [];
    const recompressed: unknown[] = [];
    while (recompressed.length === 0) {
      const step = scheduler.plan();
      if (!step) break;
      const compressions = step.changes.filter((change) => change.kind === 'compress');
      changes.push(...compressions.map(({ format, restRows }) => [format, ...restRows]));
      recompressed.push(...step.recompressed);
      scheduler.complete(step, [0, 0]);
    }
    expect(changes).toEqual([...(stored ? [[1], [1]] : []), [0, 0]]);
    expect(recompressed).toEqual([{ id: 'b', picture: 0 }]);
    expect(scheduler.counters).toMatchObject({ recompressions: 1, swapsOut: 0, preemptions: 0 });
    expect(scheduler.counters.rungs.recompress_pictures).toBe(1);
  });

  it('moves and preempts nobody whom compressing pictures makes room for', () => {
    const shape = fc.record({
      length: fc.integer({ min: 60, max: 200 }),
      storedPages: fc.integer({ min: 1, max: 12 }),
      rest: fc.integer({ min: 0, max: 3 }),
      answerTokens: fc.integer({ min: 1, max: 80 }),
    });
    let recompressions = 0;
    fc.assert(
      fc.property(fc.array(shape, { minLength: 2, maxLength: 6 }), fc.nat(3), (shapes, spare) => {
        const blocksOf = (rows: number) => Math.ceil(rows / 16);
        const needs = shapes.map(({ length, storedPages, rest, answerTokens }) => {
          const stored = Math.ceil(storedPages / 8) + blocksOf(rest);
          const text = blocksOf(1 + answerTokens);
          return { stored, text, raw: blocksOf(length) };
        });
        // a raw span stands beside its stored form for a moment
        const span = Math.max(...needs.map(({ raw }) => raw));
        const blocks = needs.reduce((sum, { stored, text }) => sum + stored + text, span) + spare;
        const scheduler = new Scheduler({ blocks, maxStepTokens: 1_000, maxRunning: 8, swapPages: 1_000 });
        const answered = new Map<string, number>();
        for (const [index, { length, storedPages, rest }] of shapes.entries()) {
          const form = { codec: 'capsule', profileId: 'p' };
          const stored = { format: 0, pages: storedPages };
          const restRows = everyOther(rest);
          const span = {
            ...picture(0, length, 0, undefined),
            underPressure: { stored, restRows, form },
          };
          scheduler.add({ id: `r${index}`, promptTokens: length + 1, pictures: [span] });
        }
        for (let step = scheduler.plan(); step; step = scheduler.plan()) {
          for (const { id } of scheduler.complete(step, [])) {
            const count = (answered.get(id) ?? 0) + 1;
            answered.set(id, count);
            if (count === shapes[Number(id.slice(1))]?.answerTokens) scheduler.finish(id);
          }
        }
        expect(scheduler.counters).toMatchObject({ swapsOut: 0, preemptions: 0 });
        expect([...answered.values()]).toEqual(shapes.map(({ answerTokens }) => answerTokens));
        recompressions += scheduler.counters.recompressions;
      }),
      { numRuns: fullRuns(500, 20_000), seed: 11 },
    );
    expect(recompressions).toBeGreaterThan(100);
  }, 600_000);
});
