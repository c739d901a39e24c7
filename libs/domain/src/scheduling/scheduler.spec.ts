import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { Scheduler } from './scheduler.js';
import type { PageChange, ScheduledRequest, ScheduledStep } from './step.js';

interface TableSegment {
  readonly blocks: number[];
  readonly tokens: number[];
  readonly sealed: boolean;
}

/** An engine's page tables without an engine: checks every change and remembers which token lies where. */
class Tables {
  readonly slots = new Map<number, TableSegment[]>();
  readonly #owner = new Map<number, number>();

  constructor(readonly blocks: number) {}

  get held(): number {
    return this.#owner.size;
  }

  apply(step: ScheduledStep): void {
    for (const change of step.changes) this.#change(change);
    for (const { slot, segment, start, rows } of step.chunks) {
      const segments = this.#slot(slot);
      const raw = segments[segment];
      if (!raw) throw new Error('chunk for a segment that is not there');
      expect(raw.sealed).toBe(false);
      const before = segments.slice(0, segment + 1).reduce((sum, { tokens }) => sum + tokens.length, 0);
      const after = segments.slice(segment + 1).reduce((sum, { tokens }) => sum + tokens.length, 0);
      expect([before, after]).toEqual([start, 0]);
      raw.tokens.push(...Array.from({ length: rows }, (_, index) => start + index));
      expect(raw.tokens.length).toBeLessThanOrEqual(raw.blocks.length * 16);
    }
  }

  #slot(slot: number): TableSegment[] {
    const segments = this.slots.get(slot);
    if (!segments) throw new Error(`slot ${slot} is not open`);
    return segments;
  }

  #own(slot: number, blocks: readonly number[]): void {
    for (const block of blocks) {
      expect(block).toBeLessThan(this.blocks);
      if (this.#owner.has(block)) throw new Error(`block ${block} has an owner`);
      this.#owner.set(block, slot);
    }
  }

  #change(change: PageChange): void {
    if (change.kind === 'open') {
      expect(this.slots.has(change.slot)).toBe(false);
      this.slots.set(change.slot, []);
      return;
    }
    const segments = this.#slot(change.slot);
    if (change.kind === 'close') {
      for (const { blocks } of segments) for (const block of blocks) this.#owner.delete(block);
      this.slots.delete(change.slot);
    } else if (change.kind === 'segment') {
      segments.push({ blocks: [], tokens: [], sealed: false });
    } else if (change.kind === 'blocks') {
      this.#own(change.slot, change.blocks);
      segments[change.segment]?.blocks.push(...change.blocks);
    } else {
      this.#compress(segments, change);
    }
  }

  #compress(segments: TableSegment[], change: PageChange & { kind: 'compress' }): void {
    const raw = segments[change.segment];
    if (!raw) throw new Error('no span to compress');
    const pageBlocks = [...new Set(change.pages.map((page) => Math.floor(page / 8)))];
    this.#own(change.slot, [...pageBlocks, ...change.blocks]);
    for (const block of raw.blocks) this.#owner.delete(block);
    const rest = new Set(change.restRows);
    const capsule = {
      blocks: pageBlocks,
      tokens: raw.tokens.filter((_, row) => !rest.has(row)),
      sealed: true,
    };
    const markers = {
      blocks: [...change.blocks],
      tokens: raw.tokens.filter((_, row) => rest.has(row)),
      sealed: true,
    };
    expect(change.blocks.length).toBe(Math.ceil(markers.tokens.length / 16));
    segments.splice(change.segment, 1, capsule, ...(markers.tokens.length > 0 ? [markers] : []));
  }
}

interface Script {
  readonly request: ScheduledRequest;
  readonly arriveAt: number;
  readonly answerTokens: number;
  readonly abortAt: number | undefined;
}

const picture = (offset: number, length: number, markers: number, pages: number | undefined) => ({
  offset,
  length,
  restRows: Array.from({ length: markers }, (_, index) => index * 2),
  capsule: pages === undefined ? undefined : { profile: 0, pages },
});

const requestShape = fc.record({
  parts: fc.array(
    fc.record({
      text: fc.nat(30),
      markers: fc.nat(4),
      covered: fc.integer({ min: 5, max: 60 }),
      pages: fc.option(fc.integer({ min: 1, max: 10 }), { nil: undefined }),
    }),
    { maxLength: 2 },
  ),
  tail: fc.integer({ min: 0, max: 40 }),
  priority: fc.integer({ min: -1, max: 1 }),
  answerTokens: fc.integer({ min: 1, max: 60 }),
  arriveAt: fc.nat(40),
  abortAt: fc.option(fc.nat(80), { nil: undefined }),
});

function toScript(
  shape: typeof requestShape extends fc.Arbitrary<infer T> ? T : never,
  index: number,
): Script {
  let tokens = 0;
  const pagesByTokens = new Map<number, number | undefined>();
  const pictures = shape.parts.map(({ text, markers, covered, pages }) => {
    // one profile a count of covered tokens, as in an engine
    if (!pagesByTokens.has(covered)) pagesByTokens.set(covered, pages);
    const span = picture(tokens + text, covered + markers, markers, pagesByTokens.get(covered));
    tokens += text + covered + markers;
    return span;
  });
  tokens += shape.tail;
  const { priority } = shape;
  const request = { id: `r${index}`, promptTokens: Math.max(tokens, 1), pictures, priority };
  return { request, arriveAt: shape.arriveAt, answerTokens: shape.answerTokens, abortAt: shape.abortAt };
}

interface Run {
  readonly scheduler: Scheduler;
  readonly tables: Tables;
  readonly ended: Map<string, string>;
  readonly generated: Map<string, number>;
}

/** One step, with an abort in mid-step when asked for. */
function runStep(run: Run, scripts: readonly Script[], abort: readonly string[]): boolean {
  const { scheduler, tables, ended, generated } = run;
  const step = scheduler.plan();
  if (step) {
    for (const id of step.exhausted) ended.set(id, 'exhausted');
    if (step.rows > 0) tables.apply(step);
    expect(tables.held).toBeLessThanOrEqual(tables.blocks);
    expect(step.rows).toBe(step.chunks.reduce((sum, { rows }) => sum + rows, 0));
    for (const id of step.preempted) scheduler.ready(id);
  }
  for (const id of abort) if (scheduler.finish(id)) ended.set(id, 'abort');
  if (step) {
    for (const { id } of scheduler.complete(step)) {
      const count = (generated.get(id) ?? 0) + 1;
      generated.set(id, count);
      const script = scripts.find(({ request }) => request.id === id);
      if (count === script?.answerTokens && scheduler.finish(id)) ended.set(id, 'done');
    }
  }
  const held = scheduler.running.reduce((sum, id) => sum + scheduler.pages(id).held, 0);
  expect(scheduler.pool.heldPages).toBe(held);
  expect(scheduler.pool.freePages + held).toBe(scheduler.pool.capacityPages);
  return step !== undefined;
}

describe('Scheduler', () => {
  it('keeps pages whole, ends every request and leaves nothing behind', () => {
    fc.assert(
      fc.property(
        fc.array(requestShape, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 8, max: 30 }),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 60 }),
        (shapes, blocks, maxStepTokens, maxRunning, maxPrefillChunk) => {
          const scripts = shapes.map(toScript);
          const scheduler = new Scheduler({ blocks, maxStepTokens, maxRunning, maxPrefillChunk });
          const run: Run = { scheduler, tables: new Tables(blocks), ended: new Map(), generated: new Map() };
          for (let tick = 0; run.ended.size < scripts.length; tick += 1) {
            for (const { request } of scripts.filter(({ arriveAt }) => arriveAt === tick)) {
              try {
                scheduler.add(request);
              } catch {
                run.ended.set(request.id, 'refused');
              }
            }
            const abort = scripts.filter(({ abortAt }) => abortAt === tick).map(({ request }) => request.id);
            const worked = runStep(run, scripts, abort);
            expect(worked || tick <= 80).toBe(true);
            expect(tick).toBeLessThan(20_000);
          }
          for (const [id, reason] of run.ended) {
            const script = scripts.find(({ request }) => request.id === id);
            if (reason === 'done') expect(run.generated.get(id)).toBe(script?.answerTokens);
          }
          expect(scheduler.pool.freePages).toBe(scheduler.pool.capacityPages);
          expect([scheduler.running, scheduler.waiting]).toEqual([[], []]);
        },
      ),
      { numRuns: 300, seed: 5 },
    );
  }, 60_000);

  it('runs decodes before prefill and cuts prefill at the budget', () => {
    const scheduler = new Scheduler({ blocks: 64, maxStepTokens: 20, maxRunning: 4 });
    scheduler.add({ id: 'a', promptTokens: 4, pictures: [] });
    const first = scheduler.plan();
    expect(first?.samples).toEqual([{ id: 'a', row: 3 }]);
    if (first) scheduler.complete(first);
    scheduler.add({ id: 'b', promptTokens: 50, pictures: [] });
    const second = scheduler.plan();
    expect(second?.chunks.map(({ id, start, rows }) => [id, start, rows])).toEqual([
      ['a', 4, 1],
      ['b', 0, 19],
    ]);
    expect(second?.samples).toEqual([{ id: 'a', row: 0 }]);
  });

  it('bounds prefill beside decodes, and only there', () => {
    const scheduler = new Scheduler({ blocks: 64, maxStepTokens: 100, maxPrefillChunk: 8, maxRunning: 4 });
    scheduler.add({ id: 'a', promptTokens: 40, pictures: [] });
    const first = scheduler.plan();
    expect(first?.rows).toBe(40);
    if (first) scheduler.complete(first);
    scheduler.add({ id: 'b', promptTokens: 11, pictures: [] });
    scheduler.add({ id: 'c', promptTokens: 30, pictures: [] });
    const rowsOf = (step: ScheduledStep | undefined) =>
      step?.chunks.map(({ id, start, rows }) => [id, start, rows]);
    const second = scheduler.plan();
    expect(rowsOf(second)).toEqual([
      ['a', 40, 1],
      ['b', 0, 8],
    ]);
    if (second) scheduler.complete(second);
    expect(rowsOf(scheduler.plan())).toEqual([
      ['a', 41, 1],
      ['b', 8, 3],
      ['c', 0, 5],
    ]);
  });

  it('admits by priority, then by arrival, and preempts in the opposite order', () => {
    const scheduler = new Scheduler({ blocks: 3, maxStepTokens: 64, maxRunning: 2 });
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
      for (const { id } of scheduler.complete(step)) {
        if (scheduler.pages(id).tokens < 5) continue;
        scheduler.finish(id);
        ended.push(id);
      }
    }
    expect(ended).toEqual(['urgent', 'first', 'second', 'late']);
    scheduler.add({ id: 'old', promptTokens: 3, pictures: [], priority: 1 });
    scheduler.add({ id: 'young', promptTokens: 3, pictures: [] });
    const step = scheduler.plan();
    if (step) scheduler.complete(step);
    expect(scheduler.preemptLast()).toBe('old');
  });

  it('lets others pass one whose features are made again', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 5, pictures: [] });
    scheduler.add({ id: 'b', promptTokens: 5, pictures: [picture(0, 4, 0, undefined)] });
    scheduler.add({ id: 'c', promptTokens: 5, pictures: [] });
    const run = () => {
      const step = scheduler.plan();
      if (step) scheduler.complete(step);
      return scheduler.running;
    };
    expect(run()).toEqual(['a', 'b']);
    expect(scheduler.preemptLast()).toBe('b');
    expect(run()).toEqual(['a', 'c']);
    scheduler.ready('b');
    scheduler.finish('a');
    expect(run()).toEqual(['b', 'c']);
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
    if (first) scheduler.complete(first);
    const second = scheduler.plan();
    expect(second?.changes.map(({ kind }) => kind)).toEqual(['compress', 'segment', 'blocks']);
    expect(second?.changes[0]).toMatchObject({ segment: 1, profile: 0, restRows: [0, 2, 4, 6] });
    expect(second?.chunks).toMatchObject([{ segment: 3, start: 70, rows: 30 }]);
    expect(scheduler.pages('a').held).toBe((1 + 1 + 1 + 2) * 8);
  });

  it('preempts the youngest and keeps what it generated as text, not as prompt', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 4 });
    scheduler.add({ id: 'old', promptTokens: 16, pictures: [] });
    scheduler.add({ id: 'young', promptTokens: 15, pictures: [] });
    const counts = new Map<string, number>();
    const preempted: string[] = [];
    for (let step = scheduler.plan(); step; step = scheduler.plan()) {
      preempted.push(...step.preempted);
      for (const { id } of scheduler.complete(step)) {
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
      scheduler.complete(step);
    }
    expect(exhausted).toEqual(['a']);
    expect(scheduler.pool.freeBlocks).toBe(1);
    expect(() => {
      scheduler.add({ id: 'b', promptTokens: 17, pictures: [] });
    }).toThrow('KV pages');
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

  it('ignores the sample of a request that lost its pages in mid-step', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 64, maxRunning: 2 });
    scheduler.add({ id: 'a', promptTokens: 5, pictures: [] });
    scheduler.add({ id: 'b', promptTokens: 5, pictures: [] });
    const step = scheduler.plan();
    if (!step) throw new Error('no step');
    expect(scheduler.preemptLast()).toBe('b');
    expect(scheduler.complete(step).map(({ id }) => id)).toEqual(['a']);
    expect(scheduler.preemptLast()).toBeUndefined();
  });
});
