import { createHash } from 'node:crypto';

import { KvcError } from '@kvcapsule/contracts/errors';
import type { EncodedImage, ImageWatch, NativeEngineInfo, StepPlan, StepResult } from '@kvcapsule/engine';
import {
  DrawnBefore,
  logprobsOf,
  mix,
  planChanges,
  planRows,
  type PlanRow,
  ServingEngine,
} from '@kvcapsule/testing/engine';

import { pictureMs, type StepCosts, stepMs, stepWork } from '../costs/index.js';
import { type AnswerTokens, drawToken } from './answers.js';
import { ContentRows } from './content-rows.js';
import { type Clock, EngineTime } from './engine-time.js';

export interface TimedEngineOptions {
  readonly info: NativeEngineInfo;
  readonly poolBlocks: number;
  readonly costs: StepCosts;
  readonly answers: AnswerTokens;
  /** Visual tokens of a picture of this size; throws where the model takes none such. */
  readonly imageTokens: (widthPx: number, heightPx: number) => number;
  readonly speedup: number;
  readonly clock?: Clock;
}

interface Features {
  readonly tokens: number;
  /** Stands for the picture's content. */
  readonly mark: number;
}

/** A picture is computed in slices, between which steps have their turn. */
const SLICE_MS = 10;

/**
 * An engine that keeps time and pages and computes nothing: steps and pictures take as long as a model of costs says,
 * every page operation is checked, and tokens are a function of the content before them and of the request's seed.
 * So any two of them answer alike, whatever else they do.
 */
export class TimedEngine extends ServingEngine {
  readonly info: NativeEngineInfo;
  readonly #time: EngineTime;
  readonly #rows: ContentRows;
  readonly #drawn = new DrawnBefore();
  readonly #features = new Map<number, Features>();
  readonly #kept = new WeakMap<Uint8Array, ReturnType<ContentRows['read']>>();
  /** By watch: the share of the picture that is computed, or that it is not wanted. */
  readonly #watched = new WeakMap<ImageWatch, { share: number; cancelled: boolean }>();
  /** Calls end in the order they came in. */
  #tail: Promise<unknown> = Promise.resolve();
  #handles = 0;
  #isDisposed = false;

  constructor(private readonly options: TimedEngineOptions) {
    super();
    this.info = options.info;
    this.#time = new EngineTime(options.speedup, options.clock);
    this.#rows = new ContentRows(options.info, options.poolBlocks);
  }

  /** Pages that some sequence uses. */
  get usedPages(): number {
    return this.#rows.usedPages;
  }

  /** Pictures whose features are kept. */
  get pictures(): number {
    return this.#features.size;
  }

  /** @param rgb any bytes that stand for the picture's content */
  async encodeImage(
    rgb: Uint8Array,
    width: number,
    height: number,
    watch?: ImageWatch,
  ): Promise<EncodedImage> {
    this.#checkDisposed();
    const tokens = this.options.imageTokens(width, height);
    const wanted = (watch && this.#watched.get(watch)) ?? { share: 0, cancelled: false };
    const totalMs = pictureMs(this.options.costs, tokens / this.info.tokensPerTile);
    for (let spentMs = 0; spentMs < totalMs; spentMs += SLICE_MS) {
      await this.#time.spend(Math.min(SLICE_MS, totalMs - spentMs));
      if (wanted.cancelled) throw new KvcError('ABORTED', 'The picture is not wanted any more.');
      this.#checkDisposed();
      wanted.share = Math.min(1, (spentMs + SLICE_MS) / totalMs);
    }
    this.#handles += 1;
    const mark = createHash('sha256').update(rgb).digest().readUInt32LE();
    this.#features.set(this.#handles, { tokens, mark });
    return { handle: this.#handles, tokens, rows: 0, cols: 0 };
  }

  watchImage(): ImageWatch {
    const state = { share: 0, cancelled: false };
    const watch: ImageWatch = { share: () => state.share, cancel: () => (state.cancelled = true) };
    this.#watched.set(watch, state);
    return watch;
  }

  releaseImage(handle: number): Promise<void> {
    return this.#inTurn(0, () => {
      if (!this.#features.delete(handle)) throw new Error('released twice');
    });
  }

  step(plan: StepPlan): Promise<StepResult> {
    const ms = stepMs(this.options.costs, stepWork(plan));
    return this.#inTurn(ms, () => this.#step(plan, ms));
  }

  readPages(pages: Int32Array): Promise<Uint8Array> {
    return this.#inTurn(0, () => {
      // who keeps the bytes keeps what lay in the pages
      const bytes = new Uint8Array(0);
      this.#kept.set(bytes, this.#rows.read([...pages]));
      return bytes;
    });
  }

  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void> {
    return this.#inTurn(0, () => {
      const kept = this.#kept.get(bytes);
      if (!kept) throw new Error('bytes that were never read');
      this.#rows.write([...pages], kept);
    });
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
    await this.#tail;
  }

  #step(plan: StepPlan, ms: number): StepResult {
    const rows = this.#drawn.fill(planRows(plan));
    for (const change of planChanges(plan)) this.#rows.apply(change);
    this.#drawn.forget(rows);
    const states = rows.map((row) => this.#rows.append(row, this.#feature(row)));
    const { answers } = this.options;
    const { vocab } = this.info;
    const tokens = Int32Array.from(plan.samples, (row, sample) =>
      drawToken(plan, sample, states[row] ?? 0, answers, vocab),
    );
    this.#drawn.keep(plan, rows, tokens);
    return { tokens, ...logprobsOf(plan, states, vocab), compressSeconds: 0, forwardSeconds: ms / 1000 };
  }

  #feature({ handle, imageRow }: PlanRow): number {
    if (handle < 0) return 0;
    const features = this.#features.get(handle);
    if (!features || imageRow >= features.tokens) throw new Error('features that are not there');
    return mix(features.mark, imageRow + 1);
  }

  /** Time is taken when the call comes in: what waits behind a step begins when that ends, not when it is heard of. */
  async #inTurn<T>(ms: number, work: () => T): Promise<T> {
    this.#checkDisposed();
    const spent = ms > 0 ? this.#time.spend(ms) : undefined;
    const result = this.#tail.then(() => spent).then(work);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  #checkDisposed(): void {
    if (this.#isDisposed) throw new KvcError('DRAINING', 'the engine has been disposed');
  }
}
