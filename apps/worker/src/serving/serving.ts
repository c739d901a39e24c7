import { KvcError } from '@kvcapsule/contracts/errors';
import { FinishReason, type Generate, type Prefill, type Progress } from '@kvcapsule/contracts/worker';
import { rootName } from '@kvcapsule/domain/identity';
import { type ScheduledRequest, Scheduler, type ScheduledStep } from '@kvcapsule/domain/scheduling';
import type { Codec, NativeEngine, StepPlan, StepResult } from '@kvcapsule/engine';
import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import { type Detokenizer, NO_TEXT, type SampledToken, TextStream } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import type { LeaseKeeper } from '../cluster/lease-keeper.js';
import { type EventSink, Generation } from '../generation/generation.js';
import { closePlan, packStep } from '../generation/plan-packer.js';
import { readSamples } from '../generation/sampling-arrays.js';
import { validateGenerate } from '../generation/validate.js';
import { type DecodeImage, PictureEncoder } from '../pictures/picture-encoder.js';
import { hashFile } from '../pictures/picture-name.js';
import { kvBytesByCodec } from './kv-bytes.js';
import { LeaseBalancer } from './lease-balancer.js';
import { PressureMetrics } from './pressure-metrics.js';
import { StepLoop } from './step-loop.js';
import { SwapStore } from './swap-store.js';
import { rawTokenBytes, usageOf } from './usage.js';

export interface ServingOptions {
  readonly engine: NativeEngine;
  readonly poolBlocks: number;
  /** Pages of waiting requests whose bytes may be kept outside the pool. */
  readonly swapPages: number;
  /** What raw text becomes before a request is preempted; raw, the default, is never touched. */
  readonly textUnderPressure?: Codec;
  /** What the model computes depends on these. */
  readonly model: { readonly revision: string; readonly precision: string };
  readonly maxStepTokens: number;
  readonly maxPrefillChunk: number;
  readonly maxRunning: number;
  /** The codec of requests that name none. */
  readonly codec: Codec;
  readonly stopTokenIds: ReadonlySet<number>;
  readonly createDetokenizer: () => Detokenizer;
  readonly decodeImage: DecodeImage;
  readonly imageProcessor: string;
  readonly encoderCacheBytes: number;
  readonly leases: LeaseKeeper;
  readonly metrics: WorkerMetrics;
  readonly logger: Logger;
}

export type ServingState = 'ready' | 'draining' | 'failed';

type Reason = 'stop' | 'length' | 'abort';

const FINISH = {
  stop: FinishReason.FINISH_REASON_STOP,
  length: FinishReason.FINISH_REASON_LENGTH,
  abort: FinishReason.FINISH_REASON_ABORT,
} as const satisfies Record<Reason, FinishReason>;

/** An engine that fails so many steps in a row will not recover by itself. */
const MAX_FAILED_STEPS = 5;
/** setTimeout's limit. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** A step that the engine has run, with the requests that it was packed for. */
interface Landed {
  readonly plan: StepPlan;
  readonly result: StepResult;
  readonly generations: ReadonlyMap<string, Generation>;
  readonly startMs: number;
}

/** Takes requests in, says what the engine loop does with them, and sends every request its news. */
export class Serving {
  readonly scheduler: Scheduler;
  readonly pictures: PictureEncoder;
  readonly #options: ServingOptions;
  readonly #balancer: LeaseBalancer;
  readonly #swapped: SwapStore;
  readonly #pressure: PressureMetrics;
  /** What names of content begin with, but for the request's salt. */
  readonly #root: Omit<Parameters<typeof rootName>[0], 'cacheSalt'>;
  readonly #generations = new Map<string, Generation>();
  #state: ServingState = 'ready';
  readonly #loop = new StepLoop<Landed>({
    plan: (ahead) => this.#plan(ahead),
    run: (step) => this.#run(step),
    land: (step, landed) => {
      this.#land(step, landed);
    },
    recover: (steps, error) => this.#recover(steps, error),
  });
  #ended: Promise<void> | undefined;
  #steps = 0;
  #failedSteps = 0;
  #lastStepEndMs = 0;
  #whenEmpty: (() => void)[] = [];

  constructor(options: ServingOptions) {
    const { engine, poolBlocks, maxStepTokens, maxPrefillChunk, maxRunning, swapPages, leases } = options;
    this.#options = options;
    const limits = { maxStepTokens, maxPrefillChunk, maxRunning, swapPages };
    this.scheduler = new Scheduler({ blocks: poolBlocks, ...limits, shape: engine.info });
    this.pictures = new PictureEncoder(options);
    this.#balancer = new LeaseBalancer(this.scheduler, leases, engine.info.pagesPerBlock);
    this.#swapped = new SwapStore(engine);
    this.#pressure = new PressureMetrics(options.metrics);
    const { revision: modelRevision, precision } = options.model;
    const { imageProcessor } = options;
    this.#root = { modelRevision, precision, imageProcessor, tenant: '' };
  }

  get state(): ServingState {
    return this.#state;
  }

  get running(): number {
    return this.scheduler.running.length;
  }

  get waiting(): number {
    return this.#generations.size - this.running;
  }

  start(): void {
    this.#ended = this.#loop.run().catch((error: unknown) => {
      this.#giveUp(error);
    });
  }

  /** Ends the loop after the steps under way; running requests fail with `DRAINING`. */
  async stop(): Promise<void> {
    this.#loop.stop();
    await this.#ended;
    this.#failAll(new KvcError('DRAINING', 'The worker is shutting down.'));
  }

  /** Takes a request in; whatever becomes of it is told to the sink. `key` is unique in this process. */
  submit(key: string, generate: Generate, sink: EventSink): void {
    this.#options.metrics.requestsStarted.inc();
    const generation = this.#admit(key, generate, sink);
    if (!generation) return;
    this.#generations.set(key, generation);
    this.#startDeadline(generation);
    void this.#prepare(generation);
  }

  /** Ends a request and frees its pages; its last event says so. An unknown one is no error. */
  abort(key: string): void {
    const generation = this.#generations.get(key);
    if (generation) this.#finish(generation, 'abort');
  }

  /** Refuses new requests; resolves when the last one has ended or the time is over, to how many were aborted. */
  async drain(timeoutMs: number): Promise<number> {
    if (this.#state === 'ready') this.#state = 'draining';
    if (this.#generations.size === 0) return 0;
    let timer: NodeJS.Timeout | undefined;
    const empty = new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.min(timeoutMs, MAX_TIMEOUT_MS));
    });
    await Promise.race([empty, timeout]);
    clearTimeout(timer);
    const left = [...this.#generations.values()];
    for (const generation of left) this.#finish(generation, 'abort');
    return left.length;
  }

  /** This process has been replaced, or its engine is lost: nothing more is served. */
  fail(error: KvcError): void {
    this.#state = 'failed';
    this.#failAll(error);
  }

  /** What the engine has done so far, and how far it is with the prompts of these requests. */
  progress(keys: Iterable<string>): Progress {
    const prefills: Prefill[] = [];
    for (const key of keys) {
      const generation = this.#generations.get(key);
      if (!generation?.started || generation.computedTokens >= generation.promptTokens) continue;
      const { computedTokens, promptTokens } = generation;
      prefills.push({ requestId: generation.spec.requestId, computedTokens, promptTokens });
    }
    return { steps: BigInt(this.#steps + this.pictures.encoded), prefills };
  }

  /** Brings the gauges up to date; call before they are read. */
  updateGauges(): void {
    const { metrics, engine } = this.#options;
    const tokens = this.scheduler.running.reduce((sum, key) => sum + this.scheduler.pages(key).tokens, 0);
    const { freePages, heldPages, cachedPages } = this.scheduler.pool;
    metrics.requestsRunning.set(this.running);
    metrics.requestsWaiting.set(this.waiting);
    metrics.pagesFree.set(freePages);
    metrics.pagesHeld.set(heldPages);
    metrics.pagesCached.set(cachedPages);
    for (const [codec, { held, written }] of kvBytesByCodec(this.scheduler.holdings(), engine.info)) {
      metrics.kvBytes.set({ codec }, held);
      metrics.kvPaddingBytes.set({ codec }, held - written);
    }
    metrics.encoderCacheBytes.set(this.pictures.cache.bytes);
    metrics.kvRawEquivalentBytes.set(tokens * rawTokenBytes(engine.info));
  }

  #admit(key: string, generate: Generate, sink: EventSink): Generation | undefined {
    const { engine, codec, textUnderPressure = 'raw', createDetokenizer, stopTokenIds } = this.#options;
    try {
      if (this.#state === 'draining') throw new KvcError('DRAINING', 'The worker is shutting down.');
      if (this.#state === 'failed') throw new KvcError('NO_WORKER', 'The worker has failed.');
      if (this.#generations.has(key)) throw new KvcError('INVALID_REQUEST', 'The request id is in use.');
      const spec = validateGenerate(generate, {
        info: engine.info,
        ...{ codec, textUnderPressure },
        endTokens: stopTokenIds,
      });
      const text = new TextStream(createDetokenizer(), generate.stop, spec.sampling.minTokens);
      return new Generation(key, spec, text, sink);
    } catch (error) {
      const { code, message, param } = asKvcError(error);
      sink.push({
        requestId: generate.requestId,
        event: { $case: 'failed', value: { code, message, param } },
      });
      this.#options.metrics.requests.inc({ reason: 'error' });
      if (generate.lease && !this.#generations.has(key))
        void this.#options.leases.decline(generate.lease.leaseId);
      return undefined;
    }
  }

  #startDeadline(generation: Generation): void {
    const { remainingMs } = generation.spec;
    if (remainingMs === undefined) return;
    generation.deadlineTimer = setTimeout(
      () => {
        this.#fail(generation, new KvcError('DEADLINE_EXCEEDED', 'The answer was not ready in time.'));
      },
      Math.min(remainingMs, MAX_TIMEOUT_MS),
    );
  }

  /** Takes the lease over and makes the features of pictures that are not cached, then queues the request. */
  async #prepare(generation: Generation): Promise<void> {
    const { key, spec } = generation;
    const { lease } = spec;
    try {
      const request = await this.#nameContent(generation);
      const cached = this.scheduler.cachedPictures(request);
      await Promise.all([
        lease && this.#options.leases.accept(key, lease),
        this.pictures.encode(generation, cached),
      ]);
      if (generation.ended) await this.#options.leases.release(key);
      else this.scheduler.add(request, cached);
      this.#loop.wake();
    } catch (error) {
      this.#fail(generation, error);
      await this.#options.leases.release(key);
    }
  }

  async #nameContent({ key, spec, promptTokens }: Generation): Promise<ScheduledRequest> {
    const { priority, promptTokenIds: tokenIds, cacheSalt, maxTokens, text, textUnderPressure } = spec;
    const root = rootName({ ...this.#root, cacheSalt });
    const pictures = await Promise.all(
      spec.pictures.map(async (picture) => {
        const contentSha256 = await hashFile(picture.encoded);
        return { ...picture, content: { ...picture.form, contentSha256 } };
      }),
    );
    const texts = { ...(text && { text }), ...(textUnderPressure && { textUnderPressure }) };
    return { id: key, promptTokens, maxTokens, pictures, priority, ...texts, content: { root, tokenIds } };
  }

  #plan(ahead: boolean): ScheduledStep | undefined {
    const step = this.scheduler.plan(ahead);
    if (!step) return undefined;
    this.#pressure.update(this.scheduler.counters);
    for (const pressed of step.recompressed) {
      const { recompressed, pressedRuns } = this.#generation(pressed.id);
      if (pressed.picture === undefined) pressedRuns.add(pressed.start);
      else recompressed.add(pressed.picture);
    }
    for (const key of step.preempted) {
      this.#generation(key).restart();
      this.#releasePictures(key);
    }
    for (const key of step.missing) this.#encodeMissing(key);
    for (const key of step.exhausted) this.#endExhausted(key);
    return step;
  }

  async #run(step: ScheduledStep): Promise<Landed> {
    const startMs = performance.now();
    const generations = new Map(step.chunks.map(({ id }) => [id, this.#generation(id)]));
    const plan = packStep(step, (key) => this.#generation(key));
    if (step.reads.length + step.writes.length > 0) await this.#swapped.move(step);
    return { plan, result: await this.#options.engine.step(plan), generations, startMs };
  }

  #land(step: ScheduledStep, { plan, result, generations, startMs }: Landed): void {
    this.#steps += 1;
    this.#failedSteps = 0;
    const endMs = performance.now();
    // a step that was planned ahead waited for the one before
    this.#observe(step, result, endMs - Math.max(startMs, this.#lastStepEndMs));
    this.#lastStepEndMs = endMs;
    this.#deliver(step, readSamples(plan, result), generations);
    this.#balancer.balance();
  }

  #generation(key: string): Generation {
    const generation = this.#generations.get(key);
    if (!generation) throw new Error('a request is scheduled that is not here');
    return generation;
  }

  #observe(step: ScheduledStep, result: StepResult, durationMs: number): void {
    const { metrics } = this.#options;
    metrics.step.observe(durationMs / 1000);
    const compressions = step.changes.filter(({ kind }) => kind === 'compress').length;
    for (let index = 0; index < compressions; index += 1) {
      metrics.compress.observe(result.compressSeconds / compressions);
    }
  }

  /** All events of one step leave in one turn of the event loop, so in one frame a stream. */
  #deliver(
    step: ScheduledStep,
    sampled: readonly SampledToken[],
    generations: ReadonlyMap<string, Generation>,
  ): void {
    const tokens = new Map(step.samples.map(({ id }, index) => [id, sampled[index]]));
    const drawn = sampled.map(({ tokenId }) => tokenId);
    const samples = this.scheduler.complete(step, drawn);
    for (const { id, picture, start, rows } of step.chunks) {
      const generation = generations.get(id);
      if (!generation || generation.ended) continue;
      generation.computedTokens = start + rows;
      this.#markStarted(generation);
      const span = picture === undefined ? undefined : generation.spec.pictures[picture];
      if (span && start + rows === span.offset + span.length) this.pictures.release(generation, picture);
    }
    for (const { id } of samples) {
      const generation = generations.get(id);
      const token = tokens.get(id);
      if (generation && token) this.#acceptToken(generation, token);
    }
  }

  #markStarted(generation: Generation): void {
    if (generation.started) return;
    generation.started = true;
    const { promptTokens, key, spec } = generation;
    const cachedTokens = this.scheduler.cachedTokens(key);
    generation.cachedTokens = cachedTokens;
    spec.pictures.forEach(({ offset, length }, index) => {
      if (offset + length <= cachedTokens) this.pictures.release(generation, index);
    });
    generation.emit({ $case: 'started', value: { promptTokens, cachedTokens } });
  }

  #acceptToken(generation: Generation, token: SampledToken): void {
    const { tokenId } = token;
    const { sampling, maxTokens } = generation.spec;
    generation.append(tokenId);
    if (!sampling.ignoreEos && this.#options.stopTokenIds.has(tokenId)) {
      generation.emit({ $case: 'delta', value: { text: '', tokenIds: [tokenId], logprobs: [] } });
      this.#finish(generation, 'stop');
      return;
    }
    const { text, logprobs, stopped } = generation.text.push(token);
    generation.emit({ $case: 'delta', value: { text, tokenIds: [tokenId], logprobs } });
    if (stopped) this.#finish(generation, 'stop', false);
    else if (generation.completionTokens >= maxTokens) this.#finish(generation, 'length');
  }

  #releasePictures(key: string): void {
    const generation = this.#generations.get(key);
    if (generation) this.pictures.release(generation);
  }

  #encodeMissing(key: string): void {
    const generation = this.#generations.get(key);
    if (!generation) return;
    // room is taken all at once: nothing is held while it waits for it
    this.pictures.release(generation);
    this.pictures.encode(generation).then(
      () => {
        this.scheduler.ready(generation.key);
        this.#loop.wake();
      },
      (error: unknown) => {
        this.#fail(generation, error);
      },
    );
  }

  #endExhausted(key: string): void {
    const generation = this.#generations.get(key);
    if (!generation) return;
    this.#options.logger.warn(
      { requestId: generation.spec.requestId },
      'a request ended because the pool is full',
    );
    if (generation.completionTokens > 0) this.#finish(generation, 'length');
    else this.#fail(generation, new KvcError('KV_CAPACITY_EXCEEDED', 'The pool has no room for an answer.'));
  }

  /** Closes the steps' slots one by one (some may not be open: then the engine refuses, and that is right). */
  async #recover(steps: readonly ScheduledStep[], error: unknown): Promise<void> {
    const { engine, logger } = this.#options;
    logger.error({ err: error, steps: steps.map(({ number }) => number) }, 'a step failed');
    for (const slot of new Set(steps.flatMap(({ slots }) => slots)))
      await engine.step(closePlan(slot)).catch(() => undefined);
    for (const key of steps.flatMap((step) => this.scheduler.fail(step))) {
      const generation = this.#generations.get(key);
      if (generation) this.#fail(generation, asStepError(error));
    }
    this.#failedSteps += 1;
    if (this.#failedSteps >= MAX_FAILED_STEPS) this.#giveUp(error);
  }

  #giveUp(error: unknown): void {
    this.#options.logger.fatal({ err: error }, 'the engine loop has failed');
    this.fail(new KvcError('ENGINE_FAILED', 'The engine of this worker has failed.', { cause: error }));
  }

  /** @param flush whether text that was held back belongs to the answer. */
  #finish(generation: Generation, reason: Reason, flush = true): void {
    if (generation.ended) return;
    const { text, logprobs, stopped } = flush ? generation.text.end() : NO_TEXT;
    const ending = stopped && reason === 'length' ? 'stop' : reason;
    this.#dismiss(generation);
    const usage = usageOf(generation, this.#options.engine.info);
    const { metrics } = this.#options;
    metrics.requests.inc({ reason: ending });
    metrics.tokens.inc({ kind: 'prompt' }, usage.promptTokens);
    metrics.tokens.inc({ kind: 'completion' }, usage.completionTokens);
    generation.emit({ $case: 'finished', value: { reason: FINISH[ending], text, logprobs, usage } });
  }

  #fail(generation: Generation, error: unknown): void {
    if (generation.ended) return;
    this.#dismiss(generation);
    const { code, message, param } = asKvcError(error);
    this.#options.logger.warn({ requestId: generation.spec.requestId, code }, 'a request failed');
    this.#options.metrics.requests.inc({ reason: 'error' });
    generation.emit({ $case: 'failed', value: { code, message, param } });
  }

  #failAll(error: KvcError): void {
    for (const generation of [...this.#generations.values()]) this.#fail(generation, error);
  }

  /** Pages, features, lease and timer of a request that has ended. */
  #dismiss(generation: Generation): void {
    generation.ended = true;
    clearTimeout(generation.deadlineTimer);
    this.#generations.delete(generation.key);
    this.scheduler.finish(generation.key);
    this.#swapped.forget(generation.key);
    this.pictures.release(generation);
    void this.#options.leases.release(generation.key);
    this.#loop.wake();
    if (this.#generations.size > 0) return;
    const waiters = this.#whenEmpty;
    this.#whenEmpty = [];
    for (const resolve of waiters) resolve();
  }
}

function asKvcError(error: unknown): KvcError {
  if (error instanceof KvcError) return error;
  return new KvcError('INTERNAL', 'The worker failed on this request.', { cause: error });
}

function asStepError(error: unknown): KvcError {
  if (error instanceof KvcError) return error;
  return new KvcError('ENGINE_FAILED', 'The engine failed on this request.', { cause: error });
}
