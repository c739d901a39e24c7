import { KvcError } from '@kvcapsule/contracts/errors';
import type { FileName } from '@kvcapsule/domain/identity';
import { CacheLog } from '@kvcapsule/domain/owners';
import type { PoolFigures } from '@kvcapsule/domain/registry';
import { Scheduler } from '@kvcapsule/domain/scheduling';

import type { Generation } from '../generation/generation.js';
import type { GenerateRequest } from '../generation/request.js';
import type { ResizeAnswer } from '../leases/lease-effects.js';
import { Leases } from '../leases/leases.js';
import type { PictureName } from '../pictures/names.js';
import type { DecodeOutcome, EncodeOutcome } from '../pictures/picture-effects.js';
import { PictureFeatures } from '../pictures/picture-features.js';
import { type StepOutcome, Steps } from '../steps/steps.js';
import { type ArrivalConfig, Arrivals } from './arrivals.js';
import { Deadlines } from './deadlines.js';
import { type Effect, Outbox } from './effects.js';
import { type KvGauges, kvGauges, poolFigures } from './gauges.js';
import { asRequestError, Requests } from './requests.js';

export interface ServingConfig extends ArrivalConfig {
  readonly poolBlocks: number;
  /** Pages of waiting requests whose bytes may be kept outside the pool. */
  readonly swapPages: number;
  readonly maxStepTokens: number;
  readonly maxPrefillChunk: number;
  readonly maxRunning: number;
  /** Bound of the picture features kept, in use or not. */
  readonly encoderCacheBytes: number;
  /**
   * Of the pool and of the features' bytes: what tenants are sure of for cached content, all together and in equal
   * parts; 0 when absent.
   */
  readonly guaranteedShare?: number | undefined;
}

/** How far a request's prompt is. */
interface Prefill {
  readonly requestId: string;
  readonly computedTokens: number;
  readonly promptTokens: number;
  /** Image tokens of the prompt, and how many of them have features; both 0 once these are all there. */
  readonly imageTokens: number;
  readonly encodedTokens: number;
}

/** How far a worker is; any change of it shows that it works. */
export interface Progress {
  /** Steps run and pictures encoded since the process began. */
  readonly steps: number;
  /** Requests whose prompt is under way, or whose pictures are encoded. */
  readonly prefills: readonly Prefill[];
}

export type ServingState = 'ready' | 'draining' | 'failed';

/** Of the pool: with fewer pages unused, content is evicted soon. */
const SPARE_SHARE = 0.1;
/** Of what is asked about: pictures are fewer and larger than blocks. */
const FEATURES_SHARE = 0.25;

/**
 * A worker's core: takes requests in, says what the engine does next, and what becomes of every request. It waits for
 * nothing and reads no clock: time is an argument (milliseconds of any steady clock), and what is to be done is
 * handed out as effects after each call, to be carried out in their order.
 *
 * Use: call `plan` whenever `wake` was asked for and after each landing; carry a `runStep` out and say what came of
 * it, oldest step first.
 */
export class Serving {
  readonly scheduler: Scheduler;
  readonly pictures: PictureFeatures;
  /** What is held here under which names, or is about to be, for those who place requests. */
  readonly cacheLog = new CacheLog();
  readonly #config: ServingConfig;
  readonly #outbox = new Outbox();
  readonly #leases: Leases;
  readonly #requests: Requests;
  readonly #arrivals: Arrivals;
  readonly #steps: Steps;
  readonly #deadlines: Deadlines;
  readonly #drains = new Set<string>();
  #state: ServingState = 'ready';
  /** For good, unlike an admission that is closed. */
  #isEnding = false;

  constructor(config: ServingConfig) {
    this.#config = config;
    const { geometry, stopTokenIds } = config;
    const outbox = this.#outbox;
    const push = outbox.push.bind(outbox);
    this.scheduler = schedulerOf(config, this.cacheLog);
    this.pictures = new PictureFeatures({
      cacheBytes: config.encoderCacheBytes,
      guaranteedShare: config.guaranteedShare ?? 0,
      tokenBytes: geometry.featureBytes,
      push,
      lookedUp: (outcome) => {
        outbox.report({ kind: 'featuresLookedUp', outcome });
      },
      evicted: () => {
        outbox.report({ kind: 'featuresEvicted' });
      },
      log: this.cacheLog,
    });
    this.#deadlines = new Deadlines((atMs) => {
      push({ kind: 'wakeAt', atMs });
    });
    const { scheduler, pictures } = this;
    const leases = new Leases(scheduler, geometry.pagesPerBlock, push);
    const ended = (id: string): void => {
      this.#deadlines.clear(id);
      this.cacheLog.ended(id);
      if (this.#requests.size === 0) this.#endDrains();
    };
    const requests = new Requests({ scheduler, pictures, leases, outbox, geometry, ended });
    const lost = (error: unknown): void => {
      this.#lose(error);
    };
    this.#leases = leases;
    this.#requests = requests;
    const parts = { scheduler, requests, pictures, leases, outbox };
    this.#arrivals = new Arrivals({ ...parts, config, deadlines: this.#deadlines, log: this.cacheLog });
    this.#steps = new Steps({ ...parts, stopTokenIds, lost });
  }

  get state(): ServingState {
    return this.#state;
  }

  get running(): number {
    return this.scheduler.running.length;
  }

  get waiting(): number {
    return this.#requests.size - this.running;
  }

  /**
   * What the engine has done so far, and how far it is with the prompts of these requests.
   * @param shareOf of a picture's layers that are computed
   */
  progress(keys: Iterable<string>, shareOf: (name: PictureName) => number): Progress {
    const waiting = [...keys].flatMap((key) => this.#requests.named(key) ?? []);
    return {
      steps: this.#steps.run + this.pictures.computed,
      prefills: waiting.flatMap((generation) => this.#prefill(generation, shareOf) ?? []),
    };
  }

  /** Names of cached content and of pictures whose features go next, at most so many; none while there is room. */
  nextEvictions(count: number): string[] {
    const { capacityPages, freePages, cachedPages } = this.scheduler.pool;
    const isNear = freePages - cachedPages < SPARE_SHARE * capacityPages;
    const features = this.pictures.cache.nextEvictions(Math.ceil(FEATURES_SHARE * count));
    return [...features, ...(isNear ? this.scheduler.nextEvictions(count - features.length) : [])];
  }

  /** Names, by their first 128 bits in hex, of what other workers hold too: it goes before last copies. */
  adviseCopies(names: readonly string[]): void {
    this.scheduler.adviseCopies(names);
    this.pictures.cache.adviseCopies(names);
  }

  get gauges(): KvGauges {
    return kvGauges(this.scheduler, this.#config.geometry);
  }

  /** Takes as long as the running requests have segments. */
  get poolFigures(): PoolFigures {
    return poolFigures(this.scheduler, this.#config.geometry, this.#steps.drawn);
  }

  /**
   * Takes a request in, or refuses it; its events say what becomes of it.
   * @param key what its events are addressed to; of no other request that has not ended
   */
  submit(key: string, request: GenerateRequest, nowMs: number): readonly Effect[] {
    if (this.#requests.named(key)) throw new Error('a request comes under the key of another one');
    this.#outbox.report({ kind: 'requestReceived' });
    try {
      this.#admit(key, request, nowMs);
    } catch (error) {
      const { code, message, param } = asRequestError(error);
      this.#outbox.push({ kind: 'event', key, event: { kind: 'failed', code, message, param } });
      this.#outbox.report({ kind: 'requestRefused', code });
      if (request.lease) this.#leases.decline(request.lease.leaseId);
    }
    return this.#outbox.take();
  }

  /** Ends a request and frees its pages; its last event says so. An unknown one is no error. */
  abort(key: string): readonly Effect[] {
    const generation = this.#requests.named(key);
    if (generation) this.#requests.finish(generation, 'abort');
    return this.#outbox.take();
  }

  /** Plans the next step, where there is something to do and the engine may take it. */
  plan(nowMs: number): readonly Effect[] {
    this.#steps.plan(nowMs);
    return this.#outbox.take();
  }

  stepLanded(number: number, outcome: StepOutcome, nowMs: number): readonly Effect[] {
    this.#steps.landed(number, outcome, nowMs);
    return this.#outbox.take();
  }

  stepFailed(number: number, error: unknown): readonly Effect[] {
    this.#steps.failed(number, error);
    return this.#outbox.take();
  }

  slotsClosed(): readonly Effect[] {
    this.#steps.slotsClosed();
    return this.#outbox.take();
  }

  pictureDecoded(file: FileName, outcome: DecodeOutcome): readonly Effect[] {
    this.pictures.decoded(file, outcome);
    return this.#outbox.take();
  }

  pictureEncoded(name: PictureName, outcome: EncodeOutcome): readonly Effect[] {
    if ('handle' in outcome && outcome.seconds !== undefined)
      this.scheduler.costs.encoded(outcome.tokens, outcome.seconds);
    this.pictures.encoded(name, outcome);
    return this.#outbox.take();
  }

  /** @param error why a lease is not this worker's to take */
  leaseAccepted(id: string, error?: unknown): readonly Effect[] {
    this.#leases.accepted(id, error);
    return this.#outbox.take();
  }

  /** The ledger has given a lease back that had been taken over: its request ends. One that has ended is no error. */
  leaseLost(id: string, error: KvcError): readonly Effect[] {
    const generation = this.#requests.find(id);
    if (generation) this.#requests.fail(generation, error);
    return this.#outbox.take();
  }

  leaseResized(id: string, answer: ResizeAnswer, nowMs: number): readonly Effect[] {
    this.#leases.resized(id, answer, nowMs);
    return this.#outbox.take();
  }

  /** It is the time that `wakeAt` has named. */
  expire(nowMs: number): readonly Effect[] {
    for (const id of this.#deadlines.due(nowMs)) {
      const generation = this.#requests.find(id);
      if (generation)
        this.#requests.fail(
          generation,
          new KvcError('DEADLINE_EXCEEDED', 'The answer was not ready in time.'),
        );
      else if (this.#drains.delete(id)) this.#endDrain(id);
    }
    return this.#outbox.take();
  }

  /**
   * Refuses new requests. `drained` comes when the last one has ended, or at the end of the time, when those that are
   * left are aborted; it counts them.
   * @param ticket names this call in its `drained`
   */
  drain(ticket: string, untilMs: number): readonly Effect[] {
    if (this.#state === 'ready') this.#state = 'draining';
    this.#isEnding = true;
    this.#drains.add(ticket);
    if (this.#requests.size === 0) this.#endDrains();
    else this.#deadlines.set(ticket, untilMs);
    return this.#outbox.take();
  }

  /**
   * Whether new requests are taken; those that are here go on. False where it ends or has failed: then none are,
   * whatever is asked.
   */
  setAdmission(isOpen: boolean): boolean {
    if (this.#state === 'failed' || this.#isEnding) return false;
    this.#state = isOpen ? 'ready' : 'draining';
    return true;
  }

  /** Running requests fail with `DRAINING`. */
  stop(): readonly Effect[] {
    this.#requests.failAll(new KvcError('DRAINING', 'The worker is shutting down.'));
    return this.#outbox.take();
  }

  /** This process has been replaced: nothing more is served. */
  fail(error: KvcError): readonly Effect[] {
    this.#fail(error);
    return this.#outbox.take();
  }

  /** The engine cannot be used any more. */
  lose(error: unknown): readonly Effect[] {
    this.#lose(error);
    return this.#outbox.take();
  }

  #prefill(generation: Generation, shareOf: (name: PictureName) => number): Prefill | undefined {
    const { spec, started, computedTokens, promptTokens, pictures } = generation;
    const { requestId } = spec;
    const encodedTokens = started ? undefined : this.pictures.encodedTokens(generation, shareOf);
    if (encodedTokens !== undefined) {
      const imageTokens = pictures.reduce((sum, picture) => sum + picture.imageTokens, 0);
      return { requestId, computedTokens, promptTokens, imageTokens, encodedTokens };
    }
    if (!started || computedTokens >= promptTokens) return undefined;
    return { requestId, computedTokens, promptTokens, imageTokens: 0, encodedTokens: 0 };
  }

  #admit(key: string, request: GenerateRequest, nowMs: number): void {
    if (this.#state === 'draining') throw new KvcError('DRAINING', 'The worker takes no requests.');
    if (this.#state === 'failed') throw new KvcError('NO_WORKER', 'The worker has failed.');
    this.#arrivals.take(key, request, nowMs);
  }

  #endDrain(ticket: string): void {
    const left = this.#requests.all();
    for (const generation of left) this.#requests.finish(generation, 'abort');
    this.#outbox.push({ kind: 'drained', ticket, aborted: left.length });
  }

  #endDrains(): void {
    for (const ticket of this.#drains) {
      this.#deadlines.clear(ticket);
      this.#outbox.push({ kind: 'drained', ticket, aborted: 0 });
    }
    this.#drains.clear();
  }

  #lose(error: unknown): void {
    this.#outbox.report({ kind: 'engineLost', error });
    this.#fail(new KvcError('ENGINE_FAILED', 'The engine of this worker has failed.'));
  }

  #fail(error: KvcError): void {
    this.#state = 'failed';
    this.#requests.failAll(error);
  }
}

function schedulerOf(
  { geometry, poolBlocks: blocks, ...config }: ServingConfig,
  cacheLog: CacheLog,
): Scheduler {
  const { maxStepTokens, maxPrefillChunk, maxRunning, swapPages } = config;
  const limits = { maxStepTokens, maxPrefillChunk, maxRunning, swapPages };
  const { guaranteedShare = 0 } = config;
  return new Scheduler({ blocks, ...limits, shape: geometry, cacheLog, guaranteedShare });
}
