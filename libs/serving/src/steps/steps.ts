import { asKvcError, KvcError } from '@kvcapsule/contracts/errors';
import type { ScheduledStep, Scheduler } from '@kvcapsule/domain/scheduling';

import type { Generation } from '../generation/generation.js';
import type { SampledToken } from '../generation/text-stream.js';
import type { Leases } from '../leases/leases.js';
import type { PictureFeatures } from '../pictures/picture-features.js';
import type { Outbox } from '../serving/effects.js';
import type { Requests } from '../serving/requests.js';
import { measure } from './measure.js';
import { modelInput } from './model-input.js';
import { Pace } from './pace.js';

/** What the engine says of a step. */
export interface StepOutcome {
  /** In the order of the step's samples. */
  readonly samples: readonly SampledToken[];
  readonly compressSeconds: number;
}

export interface StepParts {
  readonly scheduler: Scheduler;
  readonly requests: Requests;
  readonly pictures: PictureFeatures;
  readonly leases: Leases;
  readonly outbox: Outbox;
  readonly stopTokenIds: ReadonlySet<number>;
  /** The engine will not recover by itself. */
  readonly lost: (error: unknown) => void;
}

interface Flight {
  readonly step: ScheduledStep;
  readonly startMs: number;
  /** Encoded before, or undefined where some are being encoded: their slices lengthen the step. */
  readonly pictures: number | undefined;
}

interface Failure {
  readonly steps: ScheduledStep[];
  readonly error: unknown;
}

/** An engine that fails so many steps in a row will not recover by itself. */
const MAX_FAILED_STEPS = 5;

/**
 * Keeps the engine busy: while a step runs, the next one is planned and given to the engine, and what the one before
 * drew is taken in while the next one runs. So at most two steps are under way, and the engine waits for nobody as
 * long as planning and taking in are shorter than a step.
 *
 * A step that moves pages in or out of the pool runs alone: its moves take several calls of the engine. What follows
 * a failed step counts as failed too.
 */
export class Steps {
  /** In the order of their plans, which is the order they run in. */
  readonly #flights: Flight[] = [];
  /** Steps that have ended and are to be recovered from, the first of them by a failure. */
  #failure: Failure | undefined;
  readonly #pace = new Pace();
  #failedSteps = 0;
  #lastStepEndMs = 0;
  #run = 0;
  #drawn = 0;

  constructor(private readonly parts: StepParts) {}

  /** Steps that the engine has run so far. */
  get run(): number {
    return this.#run;
  }

  /** Tokens of answers so far. */
  get drawn(): number {
    return this.#drawn;
  }

  /** Plans and launches a step, where one may be under way beside those that are. */
  plan(nowMs: number): void {
    const ahead = this.#flights.length > 0;
    if (this.#failure || this.#flights.length > 1 || this.#flights.some(({ step }) => movesPages(step)))
      return;
    for (let step = this.#next(ahead); step; step = this.#next(ahead)) {
      if (step.rows + step.changes.length > 0) {
        this.#launch(step, nowMs);
        return;
      }
      // only events, nothing to compute; beside a step under way the next plan can wait for the end of that one
      if (ahead) return;
    }
  }

  /** The oldest step under way has run. */
  landed(number: number, { samples, compressSeconds }: StepOutcome, nowMs: number): void {
    const { step, startMs, pictures } = this.#end(number);
    if (this.#failure) {
      this.#recover(this.#failure, step);
      return;
    }
    this.#run += 1;
    this.#failedSteps = 0;
    const compressions = step.changes.filter(({ kind }) => kind === 'compress').length;
    // a step that was planned ahead waited for the one before
    const durationMs = nowMs - Math.max(startMs, this.#lastStepEndMs);
    this.#lastStepEndMs = nowMs;
    this.#pace.landed(step.rows, durationMs);
    if (pictures !== undefined && pictures === this.#pictures() && !movesPages(step))
      measure(this.parts.scheduler.costs, step, { seconds: durationMs / 1000, compressSeconds });
    this.parts.outbox.report({
      kind: 'stepLanded',
      durationMs,
      rows: step.rows,
      compressions,
      compressSeconds,
    });
    this.#deliver(step, samples);
    this.parts.leases.balance(nowMs);
  }

  /** The oldest step under way has failed. */
  failed(number: number, error: unknown): void {
    const { step } = this.#end(number);
    this.#failure ??= { steps: [], error };
    this.#recover(this.#failure, step);
  }

  /** The slots of failed steps are closed in the engine: their requests end, and steps are planned again. */
  slotsClosed(): void {
    if (!this.#failure) return;
    const { steps, error } = this.#failure;
    this.#failure = undefined;
    const { scheduler, requests, outbox, lost } = this.parts;
    for (const id of steps.flatMap((step) => scheduler.fail(step))) {
      const generation = requests.find(id);
      if (generation)
        requests.fail(generation, asKvcError(error, 'ENGINE_FAILED', 'The engine failed on this request.'));
    }
    this.#failedSteps += 1;
    if (this.#failedSteps >= MAX_FAILED_STEPS) lost(error);
    outbox.push({ kind: 'wake' });
  }

  /** Closes what the failed steps touched as soon as nothing is under way. */
  #recover(failure: Failure, step: ScheduledStep): void {
    const { steps, error } = failure;
    steps.push(step);
    if (this.#flights.length > 0) return;
    const { outbox } = this.parts;
    outbox.report({ kind: 'stepsFailed', steps: steps.map(({ number }) => number), error });
    outbox.push({ kind: 'closeSlots', slots: [...new Set(steps.flatMap(({ slots }) => slots))] });
  }

  #end(number: number): Flight {
    const flight = this.#flights.shift();
    if (flight?.step.number !== number) throw new Error('steps end in the order of their plans');
    return flight;
  }

  #next(ahead: boolean): ScheduledStep | undefined {
    const { scheduler, pictures, outbox } = this.parts;
    const step = scheduler.plan(ahead, this.#pace.rows);
    if (!step) return undefined;
    outbox.report({ kind: 'stepPlanned', counters: scheduler.counters });
    this.#tellForms(step);
    for (const id of step.preempted) pictures.release(this.#scheduled(id));
    for (const id of step.missing) this.#encodeMissing(this.#scheduled(id));
    for (const id of step.exhausted) this.#exhaust(this.#scheduled(id));
    return step;
  }

  #tellForms({ recompressed }: ScheduledStep): void {
    for (const id of new Set(recompressed.map((each) => each.id))) {
      const own = recompressed.filter((each) => each.id === id);
      this.parts.requests.tell(this.#scheduled(id), {
        kind: 'recompressed',
        pictures: own.flatMap(({ picture }) => picture ?? []),
        textStarts: own.flatMap((each) => (each.picture === undefined ? each.start : [])),
      });
    }
  }

  #launch(step: ScheduledStep, nowMs: number): void {
    const { number, reads, writes } = step;
    const input = modelInput(step, (id) => this.#scheduled(id));
    for (const { id } of step.chunks) this.#reportScheduled(this.#scheduled(id));
    this.#flights.push({ step, startMs: nowMs, pictures: this.#pictures() });
    this.parts.outbox.push({ kind: 'runStep', step: { number, reads, writes, input } });
  }

  #reportScheduled(generation: Generation): void {
    if (generation.scheduled) return;
    generation.scheduled = true;
    this.parts.outbox.report({ kind: 'requestScheduled', key: generation.key });
  }

  #pictures(): number | undefined {
    const { computed, underWay } = this.parts.pictures;
    return underWay > 0 ? undefined : computed;
  }

  #scheduled(id: string): Generation {
    const generation = this.parts.requests.find(id);
    if (!generation) throw new Error('a request is scheduled that is not here');
    return generation;
  }

  #encodeMissing(generation: Generation): void {
    const { pictures, scheduler, requests, outbox } = this.parts;
    // room is taken all at once: nothing is held while it waits for it
    pictures.release(generation);
    pictures.encode(generation, 0, (error) => {
      if (error !== undefined) {
        requests.fail(generation, error);
        return;
      }
      scheduler.ready(generation.id);
      outbox.push({ kind: 'wake' });
    });
  }

  #exhaust(generation: Generation): void {
    const { outbox, requests } = this.parts;
    outbox.report({ kind: 'poolExhausted', key: generation.key, ids: generation.ids });
    // without a single token there is no answer that could be too long
    if (generation.completionTokens > 0) requests.cutShort(generation);
    else
      requests.fail(generation, new KvcError('KV_CAPACITY_EXCEEDED', 'The pool has no room for an answer.'));
  }

  #deliver(step: ScheduledStep, samples: readonly SampledToken[]): void {
    const { scheduler, requests } = this.parts;
    const drawn = samples.map(({ tokenId }) => tokenId);
    const tokens = new Map(step.samples.map(({ id }, index) => [id, samples[index]]));
    const counted = scheduler.complete(step, drawn);
    for (const { id, picture, start, rows } of step.chunks) {
      const generation = requests.find(id);
      if (!generation) continue;
      generation.computedTokens = start + rows;
      this.#start(generation);
      const span = picture === undefined ? undefined : generation.pictures[picture];
      if (span && start + rows === span.offset + span.length)
        this.parts.pictures.release(generation, picture);
    }
    for (const { id } of counted) {
      const generation = requests.find(id);
      const token = tokens.get(id);
      if (generation && token) this.#accept(generation, token);
    }
  }

  #start(generation: Generation): void {
    if (generation.started) return;
    generation.started = true;
    const { scheduler, requests, pictures } = this.parts;
    const { promptTokens, id } = generation;
    const cachedTokens = scheduler.cachedTokens(id);
    generation.cachedTokens = cachedTokens;
    generation.pictures.forEach(({ offset, length }, index) => {
      if (offset + length <= cachedTokens) pictures.release(generation, index);
    });
    requests.tell(generation, { kind: 'started', promptTokens, cachedTokens });
  }

  #accept(generation: Generation, token: SampledToken): void {
    this.#drawn += 1;
    const { requests, stopTokenIds } = this.parts;
    const { ending, ...said } = generation.accept(token, stopTokenIds);
    requests.tell(generation, { kind: 'delta', tokenIds: [token.tokenId], ...said });
    if (ending) requests.finish(generation, ending.reason, ending.flush);
  }
}

function movesPages({ reads, writes }: ScheduledStep): boolean {
  return reads.length + writes.length > 0;
}
