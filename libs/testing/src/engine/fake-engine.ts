import { KvcError } from '@kvcapsule/contracts/errors';
import { PageTableModel } from '@kvcapsule/domain/testing';
import {
  type EncodedImage,
  type ImageWatch,
  type NativeEngineInfo,
  type StepPlan,
  type StepResult,
  TOKEN_DRAWN_BEFORE,
} from '@kvcapsule/engine';

import { DrawnBefore } from './drawn-before.js';
import { biasOf, logprobsOf, mix, seedOf } from './invented-numbers.js';
import { planChanges, planRows, type PlanRow } from './read-plan.js';
import { ServingEngine } from './serving-engine.js';

interface Row {
  readonly position: number;
  /** Stands for keys and values: depends on all that this row has attended to, and how it was stored then. */
  readonly state: number;
}

const BLOCK_TOKENS = 16;
const PAGES_PER_BLOCK = 8;
const PAGE_BYTES = 64;

export const FAKE_VOCAB = 64;
export const FAKE_IMAGE_TOKEN = 3;
export const FAKE_END = 2;

/** `tokens` in so many pages, or, of `q8`, any number of them. */
export type FakeFormat =
  | { readonly tokens: number; readonly pages: number; readonly bytesPerToken?: undefined }
  | { readonly tokens: 0; readonly pages?: undefined; readonly bytesPerToken: number };

/**
 * An engine without arithmetic. It checks every page operation (nothing is written that another sequence uses,
 * nothing is attached that is not there) and computes tokens that depend on all a row attends to, on order and
 * on compression, but on nothing else; so equal answers prove that batching, chunking, caching and preemption
 * change nothing.
 */
export class FakeEngine extends ServingEngine {
  readonly info: NativeEngineInfo;
  readonly images = new Map<number, { tokens: number; mark: number }>();
  steps = 0;
  /** Pictures computed so far. */
  encoded = 0;
  failNext = 0;
  largestBatch = 0;
  readonly #tables: PageTableModel<Row>;
  /** Pages that `readPages` has taken out; their number stands in the bytes. */
  readonly #taken: ReturnType<PageTableModel<Row>['read']>[] = [];
  readonly #drawn = new DrawnBefore();
  /** Calls run one after the other, as on the engine's thread. */
  #tail: Promise<unknown> = Promise.resolve();
  #handles = 0;
  readonly #cancelled = new WeakSet<ImageWatch>();

  constructor(
    readonly poolBlocks: number,
    formats: readonly FakeFormat[] = [],
    /** Of a step or a picture. */
    readonly delayMs: number | (() => number) = 0,
  ) {
    super();
    this.info = {
      vocab: FAKE_VOCAB,
      contextTokens: 512,
      imageTokenId: FAKE_IMAGE_TOKEN,
      tokensPerTile: 16,
      featureBytes: 4,
      layers: 1,
      heads: 1,
      kvHeads: 1,
      headDim: 8,
      blockTokens: BLOCK_TOKENS,
      pagesPerBlock: PAGES_PER_BLOCK,
      blockBytes: PAGE_BYTES * PAGES_PER_BLOCK,
      pageBytes: PAGE_BYTES,
      weightBytes: 0,
      formats: formats.map((format) => ({
        codec: format.tokens === 0 ? 'q8' : 'capsule',
        profileId: format.tokens === 0 ? '' : `n${format.tokens}`,
        tokens: format.tokens,
        markerRows: new Int32Array(),
        pages: format.pages ?? 0,
        bytes: (format.pages ?? 0) * PAGE_BYTES,
        bytesPerToken: format.bytesPerToken ?? 0,
        headerBytes: 0,
        profileFile: 0,
        macsShare: 1,
      })),
    };
    this.#tables = new PageTableModel({
      ...{ blocks: poolBlocks, blockTokens: BLOCK_TOKENS, pagesPerBlock: PAGES_PER_BLOCK },
      formats: {
        pagesOf: (format, tokens) => this.#pagesOf(format, tokens),
        fitted: (format) => formats[format]?.tokens !== 0,
      },
    });
  }

  /** Pages that some sequence uses. */
  get usedPages(): number {
    return this.#tables.usedPages;
  }

  /** The picture's width is the number of its tokens; its first byte is all that it shows. */
  async encodeImage(
    rgb: Uint8Array,
    width: number,
    _height?: number,
    watch?: ImageWatch,
  ): Promise<EncodedImage> {
    await this.#delay();
    if (watch && this.#cancelled.delete(watch))
      throw new KvcError('ABORTED', 'The picture is not wanted any more.');
    this.#handles += 1;
    this.encoded += 1;
    this.images.set(this.#handles, { tokens: width, mark: rgb[0] ?? 0 });
    return { handle: this.#handles, tokens: width, rows: 0, cols: 0 };
  }

  watchImage(): ImageWatch {
    const watch: ImageWatch = { share: () => 0.5, cancel: () => this.#cancelled.add(watch) };
    return watch;
  }

  releaseImage(handle: number): Promise<void> {
    return this.#queue(() => {
      if (!this.images.delete(handle)) throw new Error('released twice');
    });
  }

  step(plan: StepPlan): Promise<StepResult> {
    return this.#queue(async () => {
      await this.#delay();
      return this.#step(plan);
    });
  }

  #step(plan: StepPlan): StepResult {
    const rows = this.#drawn.fill(planRows(plan));
    this.steps += 1;
    for (const change of planChanges(plan)) this.#tables.apply(change);
    this.#drawn.forget(rows);
    if (this.failNext > 0 && rows.length > 0) {
      this.failNext -= 1;
      throw Object.assign(new Error('the engine failed'), { code: 'ENGINE_FAILED' });
    }
    const states = rows.map((row) => this.#row(row));
    this.largestBatch = Math.max(this.largestBatch, plan.samples.length);
    const drawn = Int32Array.from(plan.samples, (row, index) => {
      const added = plan.tokens[row] === TOKEN_DRAWN_BEFORE ? rows[row]?.token : undefined;
      const mark = penaltyMark(plan, index, added);
      return forced(plan, index) ?? mix(mix(states[row] ?? 0, seedOf(plan, index)), mark) % FAKE_VOCAB;
    });
    this.#drawn.keep(plan, rows, drawn);
    const logits = plan.returnLogits === true ? { logits: logitsOf(plan, states) } : {};
    return {
      tokens: drawn,
      ...logprobsOf(plan, states, FAKE_VOCAB),
      ...logits,
      compressSeconds: 0,
      forwardSeconds: 0,
    };
  }

  readPages(pages: Int32Array): Promise<Uint8Array> {
    return this.#queue(() => {
      const bytes = new Uint8Array(pages.length * PAGE_BYTES);
      new DataView(bytes.buffer).setUint32(0, this.#taken.length);
      this.#taken.push(this.#tables.read([...pages]));
      return bytes;
    });
  }

  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void> {
    return this.#queue(() => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      // a slot that is closed in the next step's first changes may still name these pages
      this.#tables.write([...pages], this.#taken[view.getUint32(0)] ?? []);
    });
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }

  #queue<T>(work: () => T | Promise<T>): Promise<T> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  async #delay(): Promise<void> {
    const ms = typeof this.delayMs === 'number' ? this.delayMs : this.delayMs();
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
  }

  #pagesOf(format: number, tokens: number): number | undefined {
    const info = this.info.formats[format];
    if (!info) return undefined;
    const { tokens: fixed, pages, bytesPerToken } = info;
    if (fixed === 0) return Math.ceil((tokens * bytesPerToken) / PAGE_BYTES);
    return tokens === fixed ? pages : undefined;
  }

  #row({ slot, segment, token, position, handle, imageRow }: PlanRow): number {
    const seen = this.#tables
      .rows(slot)
      .flatMap(({ formats, rows }) => rows.map((row) => ({ stored: formats.length > 0, ...row })));
    if (seen.length !== position) throw new Error('a row is at the wrong position');
    if (position >= this.info.contextTokens) throw new Error('a position is beyond the context');
    let state = mix(token, this.#feature(handle, imageRow));
    for (const { stored, state: other } of seen.sort((a, b) => a.position - b.position))
      state = mix(state, mix(other, stored ? 2 : 1));
    this.#tables.append(slot, segment, { position, state });
    return state;
  }

  #feature(handle: number, imageRow: number): number {
    if (handle < 0) return 0;
    const image = this.images.get(handle);
    if (!image || imageRow >= image.tokens) throw new Error('features that are not there');
    return mix(image.mark + 1, imageRow);
  }
}

/** A bias of 100 decides, one that forbids is only checked to name real tokens. */
function forced(plan: StepPlan, sample: number): number | undefined {
  return [...biasOf(plan, sample, FAKE_VOCAB)].find(([, value]) => value === 100)?.[0];
}

/** `[samples][vocab]`, by the state alone. */
function logitsOf(plan: StepPlan, states: readonly number[]): Float32Array {
  const tokens = Array.from({ length: FAKE_VOCAB }, (_, token) => token);
  return Float32Array.from(
    [...plan.samples].flatMap((row) => tokens.map((token) => mix(states[row] ?? 0, token) % 997)),
  );
}

/**
 * 0 without penalties; else a function of their factors and of what they count, in any order.
 * @param added one more token of the answer
 */
function penaltyMark(plan: StepPlan, sample: number, added: number | undefined): number {
  const user = plan.penalties?.samples.indexOf(sample) ?? -1;
  if (!plan.penalties || user < 0) return 0;
  const { factors, offsets, tokens, counts } = plan.penalties;
  let mark = [...factors.subarray(3 * user, 3 * user + 3)].reduce((sum, factor) => mix(sum, factor * 64), 1);
  const counted = new Map<number, number>();
  for (let at = offsets[user] ?? 0; at < (offsets[user + 1] ?? 0); at += 1)
    counted.set(tokens[at] ?? 0, counts[at] ?? 0);
  if (added !== undefined) counted.set(added, (counted.get(added) ?? 0) + 1);
  for (const [token, count] of counted) mark = (mark + mix(token, count)) >>> 0;
  return mark;
}
