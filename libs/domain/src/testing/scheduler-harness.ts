import {
  type ScheduledRequest,
  type ScheduledStep,
  Scheduler,
  type SchedulerOptions,
} from '../scheduling/index.js';
import { expectedAnswer, PageTables } from './page-tables.js';
import type { Script } from './request-scripts.js';

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
export class SchedulerHarness {
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
    for (const script of this.scripts.filter(({ arriveAt }) => arriveAt === tick)) this.arrive(script);
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

  arrive({ request }: Script): void {
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
