import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { rootName } from '../identity/index.js';
import { fullRuns } from '../testing/full-runs.js';
import { expectedAnswer, PageTables } from '../testing/page-tables.js';
import { Scheduler, type SchedulerOptions } from './scheduler.js';
import type { ScheduledPicture, ScheduledRequest, ScheduledStep, TextForm } from './step.js';

const ROOT = rootName({
  ...{ modelRevision: 'm', precision: 'f16', imageProcessor: 'p' },
  ...{ tenant: '', cacheSalt: '' },
});

interface Script {
  readonly request: ScheduledRequest;
  readonly tokenIds: readonly number[];
  readonly arriveAt: number;
  readonly answerTokens: number;
  readonly abortAt: number | undefined;
}

const everyOther = (count: number): number[] => Array.from({ length: count }, (_, index) => index * 2);

function picture(
  offset: number,
  length: number,
  markers: number,
  pages: number | undefined,
): ScheduledPicture {
  const capsule = pages === undefined ? undefined : { profile: 0, pages };
  return { offset, length, restRows: everyOther(markers), capsule };
}

const textForm = (codec: string, profile: number, tokens: number, pages: number): TextForm => ({
  capsule: { profile, pages },
  tokens,
  form: { codec, profileId: '' },
});

const TEXTS = {
  raw: {},
  q8: { text: textForm('q8', 1, 32, 9) },
  q4: { text: textForm('q4', 2, 48, 7) },
  pressed: { textUnderPressure: textForm('q8', 1, 32, 9) },
};

/** Few documents, pictures and lengths, so that requests begin alike. */
const requestShape = fc.record({
  document: fc.nat(1),
  fork: fc.integer({ min: 0, max: 90 }),
  parts: fc.array(
    fc.record({
      text: fc.constantFrom(0, 5, 16, 21),
      markers: fc.constantFrom(0, 3),
      covered: fc.constantFrom(20, 44),
      shows: fc.nat(1),
      kept: fc.constantFrom('raw', 'capsule', 'pressed', 'rows', 'pressed rows'),
    }),
    { maxLength: 2 },
  ),
  tail: fc.integer({ min: 0, max: 40 }),
  text: fc.constantFrom<keyof typeof TEXTS>('raw', 'raw', 'q8', 'q4', 'pressed'),
  named: fc.boolean(),
  bounded: fc.boolean(),
  priority: fc.integer({ min: -1, max: 1 }),
  answerTokens: fc.integer({ min: 1, max: 110 }),
  arriveAt: fc.nat(20),
  abortAt: fc.option(fc.nat(90), { nil: undefined, freq: 3 }),
});

type Shape = typeof requestShape extends fc.Arbitrary<infer T> ? T : never;

function toPicture(offset: number, part: Shape['parts'][number]): ScheduledPicture {
  const { markers, covered, shows, kept } = part;
  const capsule = { profile: covered, pages: covered === 20 ? 3 : 10 };
  const form = { codec: 'capsule', profileId: `n${covered}` };
  const restRows = everyOther(markers);
  const span = { offset, length: covered + markers, restRows };
  const contentSha256 = Uint8Array.of(shows + 1);
  if (kept === 'capsule') return { ...span, capsule, content: { ...form, contentSha256 } };
  const asRows = kept.endsWith('rows');
  const content = { codec: asRows ? 'q8' : 'raw', profileId: '', contentSha256 };
  const large: ScheduledPicture = {
    ...{ ...span, content, restRows: asRows ? [] : restRows },
    capsule: asRows ? { profile: 0, pages: Math.ceil(span.length / 3) } : undefined,
  };
  return kept.startsWith('pressed') ? { ...large, underPressure: { capsule, restRows, form } } : large;
}

function toScript(shape: Shape, index: number): Script {
  let promptTokens = 0;
  const pictures = shape.parts.map((part) => {
    const span = toPicture(promptTokens + part.text, part);
    promptTokens += part.text + span.length;
    return span;
  });
  promptTokens = Math.max(1, promptTokens + shape.tail);
  const tokenIds = Array.from({ length: promptTokens }, (_, at) =>
    at < shape.fork ? (at * 7 + shape.document) % 5 : (at * 3 + shape.fork) % 5,
  );
  const { priority, arriveAt, answerTokens, abortAt, named } = shape;
  const content = named ? { content: { root: ROOT, tokenIds } } : {};
  const bound = shape.bounded ? { maxTokens: answerTokens } : {};
  const texts = TEXTS[shape.text];
  const request = { id: `r${index}`, promptTokens, pictures, priority, ...texts, ...content, ...bound };
  return { request, tokenIds, arriveAt, answerTokens, abortAt };
}

/** A step that the tables have run; `failed`: only its changes, or nothing behind one that failed. */
interface Run {
  readonly step: ScheduledStep;
  readonly tokens: readonly number[];
  readonly failed: boolean;
}

/**
 * A worker's part: runs steps on the tables, aborts in mid-step, makes features anew, lets steps fail. `ahead`: the
 * outcome of each step is taken in when the next one has been planned and has run.
 */
class Harness {
  readonly scheduler: Scheduler;
  readonly tables: PageTables;
  readonly ended = new Map<string, string>();
  readonly #answers = new Map<string, number[]>();
  readonly #expected = new Map<string, number[]>();
  /** Tokens computed so far, by request. */
  readonly #computed = new Map<string, number>();
  #under: Run | undefined;
  operations = 0;
  /** Rows of tokens that had been computed before. */
  repeatedRows = 0;
  /** Rows of requests whose end was not known when they were planned. */
  wasted = 0;

  constructor(
    options: SchedulerOptions,
    readonly scripts: readonly Script[],
    readonly failAt: ReadonlySet<number>,
    readonly ahead: boolean,
  ) {
    this.scheduler = new Scheduler(options);
    this.tables = new PageTables(options.blocks);
  }

  tick(tick: number): boolean {
    for (const script of this.scripts.filter(({ arriveAt }) => arriveAt === tick)) this.#arrive(script);
    const under = this.#under;
    const step = this.scheduler.plan(under !== undefined);
    for (const id of step?.exhausted ?? []) this.ended.set(id, 'exhausted');
    if (under && step && step.reads.length + step.writes.length + step.preempted.length > 0)
      throw new Error('pages are moved while a step is under way');
    const next = step && this.#run(step, tick);
    this.#abort(tick);
    this.#under = next;
    if (under) this.#land(under);
    if (!this.ahead && this.#under) this.#land(this.#under);
    if (!this.ahead) this.#under = undefined;
    for (const id of step?.missing ?? []) this.scheduler.ready(id);
    this.#checkAccounts();
    return step !== undefined || under !== undefined;
  }

  #run(step: ScheduledStep, tick: number): Run {
    this.operations += step.changes.length + step.chunks.length;
    this.#countRepeated(step);
    if (this.#under?.failed) return { step, tokens: [], failed: true };
    const failed = this.failAt.has(tick) && step.rows > 0;
    if (failed) this.tables.prepare(step);
    const tokens = failed ? [] : this.tables.run(step, (id) => this.#find(id));
    return { step, tokens, failed };
  }

  #land(run: Run): void {
    if (!run.failed) {
      this.#complete(run.step, run.tokens);
      return;
    }
    for (const { step } of [run, ...(this.#under && this.#under !== run ? [this.#under] : [])]) {
      this.tables.close(step.slots);
      for (const id of this.scheduler.fail(step)) this.ended.set(id, 'failed');
    }
    this.#under = undefined;
  }

  /** What the engine knows of a request: also what the step before drew. */
  #find(id: string): { request: ScheduledRequest; tokens: readonly number[] } {
    const script = this.scripts.find(({ request }) => request.id === id);
    if (!script) throw new Error('a request that nobody made');
    const drawn = this.#under?.step.samples.findIndex((sample) => sample.id === id) ?? -1;
    const last = drawn < 0 ? [] : [this.#under?.tokens[drawn] ?? -1];
    return {
      request: script.request,
      tokens: [...script.tokenIds, ...(this.#answers.get(id) ?? []), ...last],
    };
  }

  #arrive({ request }: Script): void {
    try {
      this.scheduler.add(request, this.scheduler.cachedPictures(request));
    } catch {
      this.ended.set(request.id, 'refused');
    }
  }

  #countRepeated({ chunks }: ScheduledStep): void {
    for (const { id, start, rows } of chunks) {
      const known = this.#computed.get(id) ?? 0;
      this.repeatedRows += Math.min(rows, Math.max(0, known - start));
      this.#computed.set(id, Math.max(known, start + rows));
    }
  }

  #abort(tick: number): void {
    for (const { request, abortAt } of this.scripts) {
      if (abortAt === tick && this.scheduler.finish(request.id)) this.ended.set(request.id, 'abort');
    }
  }

  #complete(step: ScheduledStep, tokens: readonly number[]): void {
    const drawn = new Map(step.samples.map(({ id }, index) => [id, tokens[index] ?? -1]));
    const counted = this.scheduler.complete(step, tokens);
    this.wasted += step.samples.length - counted.length;
    for (const { id } of counted) {
      const answer = [...(this.#answers.get(id) ?? []), drawn.get(id) ?? -1];
      this.#answers.set(id, answer);
      const script = this.scripts.find(({ request }) => request.id === id);
      if (script) this.#checkAnswer(script, answer);
      if (answer.length === script?.answerTokens && this.scheduler.finish(id)) this.ended.set(id, 'done');
    }
  }

  /** As cold, token for token, unless something of the request may be compressed under pressure. */
  #checkAnswer({ request, tokenIds, answerTokens }: Script, answer: readonly number[]): void {
    if (request.textUnderPressure || request.pictures.some(({ underPressure }) => underPressure)) return;
    const { id } = request;
    const expected = this.#expected.get(id) ?? expectedAnswer(request, tokenIds, answerTokens);
    this.#expected.set(id, expected);
    if (answer.at(-1) !== expected[answer.length - 1])
      throw new Error(`token ${answer.length} of ${id} is not the cold one`);
  }

  #checkAccounts(): void {
    const { pool, running } = this.scheduler;
    if (pool.freePages + pool.heldPages !== pool.capacityPages) throw new Error('pages got lost');
    const held = running.reduce((sum, id) => sum + this.scheduler.pages(id).held, 0);
    // each request's share is rounded up
    if (held < pool.heldPages || held > pool.heldPages + running.length)
      throw new Error(`requests hold ${held} pages, the pool has given ${pool.heldPages}`);
    const holdings = [...this.scheduler.holdings().values()];
    if (holdings.reduce((sum, { pages }) => sum + pages, 0) !== pool.heldPages)
      throw new Error('holdings do not add up to the pages that are held');
  }
}

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
        const run = new Harness(options, scripts, new Set(failAt), ahead);
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
    expect(second?.changes[0]).toMatchObject({ segment: 1, profile: 0, restRows: [0, 2, 4, 6] });
    expect(second?.chunks).toMatchObject([{ segment: 3, start: 70, rows: 30 }]);
    expect(scheduler.pages('a').held).toBe((1 + 1 + 2) * 8 + 3);
    expect([...scheduler.holdings()]).toEqual([
      [undefined, { pages: 4 * 8, tokens: 10 + 4 + 30, pieces: 4 }],
      [0, { pages: 3, tokens: 56, pieces: 1 }],
    ]);
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
    expect(scheduler.counters).toMatchObject({ swapsOut: 1, swapsIn: 1, preemptions: 0 });
  });

  it.each([
    ['raw', undefined],
    ['kept as rows', { profile: 1, pages: 20 }],
  ])('compresses a picture that is %s before it moves a sequence', (_, capsule) => {
    const scheduler = new Scheduler({ blocks: 14, maxStepTokens: 64, maxRunning: 4, swapPages: 100 });
    const form = { codec: 'capsule', profileId: 'p' };
    const underPressure = { capsule: { profile: 0, pages: 3 }, restRows: [0], form };
    for (const id of ['a', 'b']) {
      const span = { ...picture(2, 46, 0, undefined), capsule, underPressure };
      scheduler.add({ id, promptTokens: 50, pictures: [span] });
    }
    const changes: unknown[] = [];
    const recompressed: unknown[] = [];
    while (recompressed.length === 0) {
      const step = scheduler.plan();
      if (!step) break;
      const compressions = step.changes.filter((change) => change.kind === 'compress');
      changes.push(...compressions.map(({ profile, restRows }) => [profile, ...restRows]));
      recompressed.push(...step.recompressed);
      scheduler.complete(step, [0, 0]);
    }
    expect(changes).toEqual([...(capsule ? [[1], [1]] : []), [0, 0]]);
    expect(recompressed).toEqual([{ id: 'b', picture: 0 }]);
    expect(scheduler.counters).toMatchObject({ recompressions: 1, swapsOut: 0, preemptions: 0 });
  });

  it('moves and preempts nobody whom compressing pictures makes room for', () => {
    const shape = fc.record({
      length: fc.integer({ min: 60, max: 200 }),
      capsulePages: fc.integer({ min: 1, max: 12 }),
      rest: fc.integer({ min: 0, max: 3 }),
      answerTokens: fc.integer({ min: 1, max: 80 }),
    });
    let recompressions = 0;
    fc.assert(
      fc.property(fc.array(shape, { minLength: 2, maxLength: 6 }), fc.nat(3), (shapes, spare) => {
        const blocksOf = (rows: number) => Math.ceil(rows / 16);
        const needs = shapes.map(({ length, capsulePages, rest, answerTokens }) => {
          const capsule = Math.ceil(capsulePages / 8) + blocksOf(rest);
          const text = blocksOf(1 + answerTokens);
          return { capsule, text, raw: blocksOf(length) };
        });
        // a span stands beside its capsule for a moment
        const span = Math.max(...needs.map(({ raw }) => raw));
        const blocks = needs.reduce((sum, { capsule, text }) => sum + capsule + text, span) + spare;
        const scheduler = new Scheduler({ blocks, maxStepTokens: 1_000, maxRunning: 8, swapPages: 1_000 });
        const answered = new Map<string, number>();
        for (const [index, { length, capsulePages, rest }] of shapes.entries()) {
          const form = { codec: 'capsule', profileId: 'p' };
          const capsule = { profile: 0, pages: capsulePages };
          const restRows = everyOther(rest);
          const span = {
            ...picture(0, length, 0, undefined),
            underPressure: { capsule, restRows, form },
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
