import { KvcError } from '@kvcapsule/contracts/errors';

import type { RebuildCosts } from '../eviction/index.js';
import { relieve, withoutRelief } from '../pressure/index.js';
import type { PoolAccount, SchedulerCounters, SequencePages } from './accounts.js';
import { Admission, schedule } from './admission.js';
import type { KeptSpan } from './description.js';
import { assemble, type Draft, newDraft } from './draft.js';
import { type Holding, holdingsOf } from './holdings.js';
import { pageDemand } from './kept-prompt.js';
import { type PageKinds, pageKindsOf } from './page-kinds.js';
import { namePrompt } from './named-prompt.js';
import { Sequence } from './sequence/sequence.js';
import { type SchedulerOptions, SchedulerState } from './state.js';
import type { ScheduledRequest, ScheduledStep, StepSample } from './step.js';

/** A share of pages is a sum of fractions; less than this is no page. */
const ROUNDING = 1e-6;
const NOTHING: SequencePages = { held: 0, peak: 0, tokens: 0, prefilling: false, running: false };

/**
 * Continuous batching over a pool of pages: running decodes first, then chunks of prefill, then admissions while
 * pages last, all in order of priority and, within one, of arrival. A request that names its content begins with the
 * longest prefix that the cache holds, and leaves there what it computes.
 *
 * When the running sequences' next rows do not fit, the ladder of `pressure` says who gives what up. The first in
 * order always goes on, so nothing starves within its priority.
 *
 * Pure: no time, no tensors, no I/O. Use: `plan`, run the step, `complete` (or `fail`), `finish` what has ended. One
 * step may be planned ahead while another is under way. Steps run in the order of their plans, so pages given up are
 * free for the next plan at once, also while a step that is under way still writes to them.
 */
export class Scheduler {
  readonly #state: SchedulerState;
  readonly #admission: Admission;
  #arrivals = 0;
  #steps = 0;
  /** The state's `sharing` at the last `takeChanged`. */
  #reportedSharing = 0;
  /** How the requests were kept that the last plan found exhausted. */
  #exhausted: Draft['exhausted'] = new Map();

  constructor(options: SchedulerOptions) {
    this.#state = new SchedulerState(options);
    this.#admission = new Admission(this.#state);
  }

  get pool(): PoolAccount {
    const { capacityPages, freePages: unused } = this.#state.pool;
    const cachedPages = this.#state.cache.idlePages;
    const freePages = unused + cachedPages;
    return { capacityPages, freePages, heldPages: capacityPages - freePages, cachedPages };
  }

  get counters(): SchedulerCounters {
    const { counts, cache } = this.#state;
    const { evictedPages, evictions } = cache;
    const [rungs, pictureHits] = [{ ...counts.rungs }, new Map(counts.pictureHits)];
    return { ...counts, rungs, pictureHits, evictedPages, evictions };
  }

  get running(): readonly string[] {
    return this.#state.running.items.map(({ id }) => id);
  }

  get waiting(): readonly string[] {
    return this.#state.waiting.items.map(({ id }) => id);
  }

  /** What computing content again takes here: whoever has a clock tells it. */
  get costs(): RebuildCosts {
    return this.#state.costs;
  }

  /** Names of what is evicted next, at most so many. */
  nextEvictions(count: number): string[] {
    return this.#state.eviction.next(count).map(({ name }) => name);
  }

  /** Names, by their first 128 bits in hex, that other workers hold too: they go before last copies. */
  adviseCopies(names: Iterable<string>): void {
    this.#state.eviction.advise(names);
  }

  has(id: string): boolean {
    return this.#state.find(id) !== undefined;
  }

  /** Tokens of the prompt that were not computed when the request was first admitted; 0 before. */
  cachedTokens(id: string): number {
    const sequence = this.#state.find(id);
    return sequence ? this.#admission.cachedTokens(sequence) : 0;
  }

  /**
   * How many of a request's pictures, from the first on, are in the prefix cache: no features are needed for them.
   * It may be fewer at its admission; the step that finds so names it in `missing`.
   */
  cachedPictures(request: ScheduledRequest): number {
    const names = namePrompt(request, this.#state.shape).content?.names;
    const units = names?.units.slice(0, this.#state.cache.count(names)) ?? [];
    return units.filter(({ picture }) => picture !== undefined).length;
  }

  /** What a request holds. Zeros for one that is not here. Costs the same however much that is. */
  pages(id: string): SequencePages {
    const sequence = this.#state.find(id);
    if (!sequence) return NOTHING;
    const { progress, naming, table } = sequence;
    const share = table.pageCount - naming.sharedAway(this.#state.sharing);
    const running = sequence.slot >= 0;
    const held = running ? Math.ceil(share - ROUNDING) : 0;
    return {
      held,
      peak: held + sequence.blocksFor(this.#state.source) * this.#state.shape.pagesPerBlock,
      tokens: progress.computed,
      prefilling: !progress.decoding,
      running,
    };
  }

  /** The running requests whose `pages` may have changed since this was asked last, but for their tokens. */
  takeChanged(): string[] {
    const { sharing, running } = this.#state;
    const shared = sharing !== this.#reportedSharing;
    this.#reportedSharing = sharing;
    const changed: string[] = [];
    for (const sequence of running.items) {
      const { reported, table, progress } = sequence;
      const prefilling = !progress.decoding;
      if (!shared && !prefilling && !reported.prefilling && reported.pages === table.pageCount) continue;
      sequence.reported = { pages: table.pageCount, prefilling };
      changed.push(sequence.id);
    }
    return changed;
  }

  /**
   * How a request's prompt is kept, in order and without a gap: what is not computed yet, or has lost its pages, in
   * the form that it takes when it is. Empty for one that is not here, but for those that the last plan found exhausted.
   */
  describe(id: string): readonly KeptSpan[] {
    return this.#state.find(id)?.describe() ?? this.#exhausted.get(id) ?? [];
  }

  /** What all running requests hold, by the number of its format (`undefined`: raw); the pages are the pool's held ones. */
  holdings(): ReadonlyMap<number | undefined, Holding> {
    const holders = this.#state.running.items.map(({ segments, naming: { entries } }) => ({
      segments,
      entries,
    }));
    return holdingsOf(holders, this.#state.shape);
  }

  /** Tokens of content that no request uses. */
  get cachedContentTokens(): number {
    return this.#state.cache.idleTokens;
  }

  /** Pages outside the pool, of requests that wait. */
  get swappedPages(): number {
    return this.#state.swappedPages;
  }

  /** What each page holds at this moment, by its number. Takes as long as there are pages. */
  pageKinds(): PageKinds {
    const { pool, cache, running, shape } = this.#state;
    return pageKindsOf(
      pool,
      cache.idleRuns(),
      running.items.flatMap(({ segments }) => segments),
      shape,
    );
  }

  /**
   * Queues a request. Throws `KV_CAPACITY_EXCEEDED` when its prompt can never fit.
   * @param featuresFrom the first picture whose features are there; those before it are expected in the cache
   */
  add(request: ScheduledRequest, featuresFrom = 0): void {
    const { shape, pool } = this.#state;
    if (this.has(request.id)) throw new KvcError('INVALID_REQUEST', 'The request id is in use.');
    if (request.promptTokens < 1) throw new KvcError('INVALID_REQUEST', 'The prompt has no tokens.');
    const sequence = new Sequence(request, this.#arrivals++, shape);
    sequence.featuresFrom = featuresFrom;
    const pages = pageDemand(request, shape);
    if (pages > pool.capacityPages) {
      const message = `The prompt needs ${pages} KV pages; this worker has ${pool.capacityPages}.`;
      throw new KvcError('KV_CAPACITY_EXCEEDED', message);
    }
    this.#state.add(sequence);
  }

  /** The features of all pictures of a request that was `missing` them are there. */
  ready(id: string): void {
    const sequence = this.#state.find(id);
    if (!sequence) return;
    sequence.ready = true;
    sequence.featuresFrom = 0;
  }

  /** Ends a request at any point, also while its step is under way. False when it is not (or no longer) here. */
  finish(id: string): boolean {
    const sequence = this.#state.find(id);
    if (sequence) this.#state.end(sequence);
    return sequence !== undefined;
  }

  /**
   * The next step, or `undefined` when there is nothing to do.
   * @param ahead a step is still under way. The token that it draws for a request is taken as one to go on from,
   *   whatever it will be. `undefined` also when running requests would have to give up pages or waiting ones get
   *   theirs back: that is planned when the step has ended.
   * @param prefillRows rows of prefill at most, at least 1: what the engine computes in the time that a step may take
   */
  plan(ahead = false, prefillRows = Infinity): ScheduledStep | undefined {
    const state = this.#state;
    state.prefillRows = prefillRows;
    const draft = newDraft(++this.#steps, state.options.maxStepTokens);
    this.#exhausted = draft.exhausted;
    const relieved = ahead ? withoutRelief(state, draft) : relieve(state, draft);
    if (!relieved || (ahead && this.#admission.resumable)) return undefined;
    // before any page changes hands in this step: the bytes are written before its changes
    if (relieved.roomy) this.#admission.resume(draft);
    const { rows, maxRows } = draft.writes.length > 0 ? state.budget() : relieved.budget;
    draft.maxRows = maxRows;
    for (const [sequence, count] of rows) schedule(state, sequence, count, draft);
    if (relieved.roomy) this.#admission.admit(draft);
    const step = assemble(draft, state.closing);
    if (step) state.closed(state.closing);
    return step;
  }

  /**
   * Takes a step's outcome in. Returns the samples whose token counts: those of requests not preempted or gone.
   * @param tokens that were drawn, in the order of the step's samples
   */
  complete(step: ScheduledStep, tokens: ArrayLike<number>): StepSample[] {
    const find = (id: string): Sequence | undefined => {
      const sequence = this.#state.find(id);
      return sequence?.inSteps.has(step.number) ? sequence : undefined;
    };
    const counted = step.samples.filter(({ id }, index) => {
      const sequence = find(id);
      sequence?.chain?.push(tokens[index] ?? 0);
      return sequence !== undefined;
    });
    const ended = new Set<Sequence>();
    for (const { id, start, rows } of step.chunks) {
      const sequence = find(id);
      if (!sequence) continue;
      sequence.naming.confirm(start + rows, this.#state.cache);
      ended.add(sequence);
    }
    for (const { inSteps } of ended) inSteps.delete(step.number);
    return counted;
  }

  /**
   * A step failed and its slots have been closed in the engine: its requests are dropped, their pages are free.
   * Returns their ids.
   */
  fail(step: ScheduledStep): string[] {
    const moved = new Set([...step.reads, ...step.writes].map(({ id }) => id));
    const failed = [...this.#state.sequences.values()].filter(
      ({ inSteps, id }) => inSteps.has(step.number) || moved.has(id),
    );
    for (const sequence of failed) this.#state.drop(sequence);
    this.#state.closed(step.slots);
    return failed.map(({ id }) => id);
  }
}
