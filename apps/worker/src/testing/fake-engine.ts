import {
  type EncodedImage,
  type NativeEngine,
  type NativeEngineInfo,
  PageOp,
  type StepPlan,
  type StepResult,
  TOKEN_DRAWN_BEFORE,
} from '@kvcapsule/engine';

interface Row {
  readonly position: number;
  /** Stands for keys and values: depends on all that this row has attended to, and how it was stored then. */
  readonly state: number;
}

/** What lies in a block (up to 16 rows) or in a capsule's pages. */
interface Content {
  readonly kind: 'raw' | 'capsule';
  readonly pages: readonly number[];
  readonly rows: Row[];
}

type Segment =
  | { readonly kind: 'raw'; readonly blocks: number[]; tokens: number }
  | { readonly kind: 'capsule'; readonly pages: number[] };

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
export class FakeEngine implements NativeEngine {
  readonly info: NativeEngineInfo;
  readonly images = new Map<number, { tokens: number; mark: number }>();
  steps = 0;
  /** Pictures computed so far. */
  encoded = 0;
  failNext = 0;
  largestBatch = 0;
  readonly #slots = new Map<number, Segment[]>();
  /** By page: how many segments use it. */
  readonly #users = new Map<number, number>();
  /** By page: what it is part of, also when nobody uses it any more. */
  readonly #contents = new Map<number, Content>();
  /** Pages that `readPages` has taken out; their number stands in the bytes. */
  readonly #taken: { readonly content: Content; readonly part: number }[] = [];
  /** What the last step with rows drew, by slot. */
  #drawn = new Map<number, { readonly position: number; readonly token: number }>();
  /** Calls run one after the other, as on the engine's thread. */
  #tail: Promise<unknown> = Promise.resolve();
  #handles = 0;

  constructor(
    readonly poolBlocks: number,
    formats: readonly FakeFormat[] = [],
    /** Of a step or a picture. */
    readonly delayMs: number | (() => number) = 0,
  ) {
    this.info = {
      family: 'fake',
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
  }

  /** The picture's width is the number of its tokens; its first byte is all that it shows. */
  async encodeImage(rgb: Uint8Array, width: number): Promise<EncodedImage> {
    await this.#delay();
    this.#handles += 1;
    this.encoded += 1;
    this.images.set(this.#handles, { tokens: width, mark: rgb[0] ?? 0 });
    return { handle: this.#handles, tokens: width, rows: 0, cols: 0 };
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
    const tokens = this.#fill(plan);
    this.steps += 1;
    this.#applyOps(plan.ops);
    if (plan.tokens.length > 0) this.#drawn = new Map();
    if (this.failNext > 0 && plan.tokens.length > 0) {
      this.failNext -= 1;
      throw Object.assign(new Error('the engine failed'), { code: 'ENGINE_FAILED' });
    }
    const states = this.#forward({ ...plan, tokens });
    this.largestBatch = Math.max(this.largestBatch, plan.samples.length);
    const drawn = Int32Array.from(plan.samples, (row, index) => {
      const seed =
        (plan.temperature[index] ?? 0) > 0 ? Number(BigInt.asUintN(32, plan.seed[index] ?? 0n)) : 0;
      const added = plan.tokens[row] === TOKEN_DRAWN_BEFORE ? tokens[row] : undefined;
      const mark = penaltyMark(plan, index, added);
      return this.#forced(plan, index) ?? mix(mix(states[row] ?? 0, seed), mark) % FAKE_VOCAB;
    });
    const slots = slotsOfRows(plan);
    plan.samples.forEach((row, index) => {
      const position = (plan.positions[row] ?? 0) + 1;
      this.#drawn.set(slots[row] ?? -1, { position, token: drawn[index] ?? 0 });
    });
    return { tokens: drawn, ...this.#logprobs(plan, states), compressSeconds: 0, forwardSeconds: 0 };
  }

  #fill(plan: StepPlan): Int32Array {
    const slots = slotsOfRows(plan);
    return plan.tokens.map((token, row) => {
      if (token !== TOKEN_DRAWN_BEFORE) return token;
      const drawn = this.#drawn.get(slots[row] ?? -1);
      if (drawn?.position !== plan.positions[row]) throw new Error('nothing was drawn there');
      return drawn?.token ?? 0;
    });
  }

  readPages(pages: Int32Array): Promise<Uint8Array> {
    return this.#queue(() => this.#readPages(pages));
  }

  #readPages(pages: Int32Array): Uint8Array {
    const bytes = new Uint8Array(pages.length * PAGE_BYTES);
    pages.forEach((page, index) => {
      const content = this.#contents.get(page);
      if (!content) return;
      const copy = { ...content, rows: [...content.rows] };
      new DataView(bytes.buffer).setUint32(index * PAGE_BYTES, this.#taken.length + 1);
      this.#taken.push({ content: copy, part: content.pages.indexOf(page) });
    });
    return bytes;
  }

  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void> {
    return this.#queue(() => {
      this.#writePages(pages, bytes);
    });
  }

  #writePages(pages: Int32Array, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    pages.forEach((page, index) => {
      const taken = this.#taken[view.getUint32(index * PAGE_BYTES) - 1];
      if (taken?.part !== 0) return;
      const { kind, rows } = taken.content;
      // a slot that is closed in the next step's first changes may still name these pages
      this.#put(kind, [...pages.subarray(index, index + taken.content.pages.length)], [...rows]);
    });
  }

  readRows(): Promise<Float32Array> {
    return Promise.reject(new Error('not here'));
  }

  addToGram(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  fit(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  fitPacked(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  fitPieces(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  saveStatistics(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  loadStatistics(): Promise<Int32Array> {
    return Promise.reject(new Error('not here'));
  }

  observe(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  perturb(): Promise<number> {
    return Promise.reject(new Error('not here'));
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

  #segments(slot: number): Segment[] {
    const segments = this.#slots.get(slot);
    if (!segments) throw new Error(`slot ${slot} is not open`);
    return segments;
  }

  /** Fresh pages: nobody may be using them. */
  #take(kind: Content['kind'], pages: readonly number[], rows: Row[]): void {
    for (const page of pages) {
      if ((this.#users.get(page) ?? 0) > 0) throw new Error(`page ${page} is in use`);
    }
    this.#put(kind, pages, rows);
  }

  #put(kind: Content['kind'], pages: readonly number[], rows: Row[]): void {
    for (const page of pages) {
      if (page < 0 || page >= this.poolBlocks * PAGES_PER_BLOCK)
        throw new Error(`page ${page} is out of range`);
    }
    const content: Content = { kind, pages, rows };
    for (const page of pages) {
      const before = this.#contents.get(page);
      for (const other of before?.pages ?? []) {
        if (this.#contents.get(other) === before) this.#contents.delete(other);
      }
      this.#contents.set(page, content);
    }
  }

  #use(kind: Content['kind'], pages: readonly number[]): Content {
    const content = this.#contents.get(pages[0] ?? -1);
    if (content?.kind !== kind || pages.some((page, index) => content.pages[index] !== page))
      throw new Error('pages that do not hold what is attached');
    for (const page of pages) this.#users.set(page, (this.#users.get(page) ?? 0) + 1);
    return content;
  }

  #drop(segment: Segment): void {
    const pages = segment.kind === 'capsule' ? segment.pages : segment.blocks.flatMap(pagesOf);
    for (const page of pages) this.#users.set(page, (this.#users.get(page) ?? 0) - 1);
  }

  #rowsOf(segment: Segment): Row[] {
    if (segment.kind === 'capsule') return this.#contents.get(segment.pages[0] ?? -1)?.rows ?? [];
    return segment.blocks
      .flatMap((block) => this.#contents.get(block * PAGES_PER_BLOCK)?.rows ?? [])
      .slice(0, segment.tokens);
  }

  #applyOps(ops: Int32Array): void {
    for (let at = 0; at < ops.length;) {
      const [code = 0, slot = 0, count = 0] = ops.subarray(at, at + 3);
      this.#apply(code, slot, [...ops.subarray(at + 3, at + 3 + count)]);
      at += 3 + count;
    }
  }

  #apply(code: number, slot: number, args: number[]): void {
    if (code === PageOp.Open) {
      if (this.#slots.has(slot)) throw new Error('the slot is open already');
      this.#slots.set(slot, []);
      return;
    }
    if (code === PageOp.CopyBlock) {
      const [from = -1, to = -1] = args;
      this.#take('raw', pagesOf(to), [...(this.#contents.get(from * PAGES_PER_BLOCK)?.rows ?? [])]);
      return;
    }
    const segments = this.#segments(slot);
    if (code === PageOp.Close) {
      for (const segment of segments) this.#drop(segment);
      this.#slots.delete(slot);
    } else if (code === PageOp.Segment) {
      segments.push({ kind: 'raw', blocks: [], tokens: 0 });
    } else if (code === PageOp.Split) {
      this.#split(segments, args);
    } else if (code === PageOp.Compress) {
      this.#compress(segments, args);
    } else if (code === PageOp.AttachCapsule) {
      const [format = -1, tokens = -1, ...pages] = args;
      const content = this.#use('capsule', pages);
      if (content.rows.length !== tokens || this.#pagesOf(format, tokens) !== pages.length)
        throw new Error('a capsule of another format');
      segments.push({ kind: 'capsule', pages });
    } else {
      this.#addBlocks(segments, code, args);
    }
  }

  #pagesOf(format: number, tokens: number): number {
    const { tokens: fixed, pages, bytesPerToken } = this.info.formats[format] ?? {};
    return fixed === 0 ? Math.ceil((tokens * (bytesPerToken ?? 0)) / PAGE_BYTES) : (pages ?? 0);
  }

  #split(segments: Segment[], [segment = -1, tokens = 0]: number[]): void {
    const whole = segments[segment];
    if (whole?.kind !== 'raw' || tokens % BLOCK_TOKENS !== 0 || tokens <= 0 || tokens >= whole.tokens)
      throw new Error('a segment is cut where it cannot be');
    const blocks = whole.blocks.splice(tokens / BLOCK_TOKENS);
    segments.splice(segment + 1, 0, { kind: 'raw', blocks, tokens: whole.tokens - tokens });
    whole.tokens = tokens;
  }

  #addBlocks(segments: Segment[], code: number, args: number[]): void {
    const raw = segments[args.shift() ?? -1];
    if (raw?.kind !== 'raw') throw new Error('blocks for a segment that is not raw');
    const attached = code === PageOp.AttachBlocks ? (args.shift() ?? 0) : undefined;
    if (attached === undefined) {
      for (const block of args) this.#take('raw', pagesOf(block), []);
    } else if (
      raw.tokens !== raw.blocks.length * BLOCK_TOKENS ||
      Math.ceil(attached / BLOCK_TOKENS) !== args.length
    ) {
      throw new Error('attached blocks do not follow a full segment');
    }
    const held = args.map((block) => this.#use('raw', pagesOf(block)).rows.length);
    raw.blocks.push(...args);
    raw.tokens += attached ?? 0;
    if (held.reduce((sum, rows) => sum + rows, 0) < (attached ?? 0))
      throw new Error('rows that are not there');
  }

  #compress(segments: Segment[], args: number[]): void {
    const [segment = -1, format = -1, ...lists] = args;
    const take = (): number[] => lists.splice(0, lists.shift() ?? 0);
    const [pages, blocks, rest] = [take(), take(), new Set(take())];
    const raw = segments[segment];
    const info = this.info.formats[format];
    if (!raw || !info) throw new Error('a compression that does not fit');
    const rows = this.#rowsOf(raw);
    const covered = rows.filter((_, row) => !rest.has(row));
    const markers = rows.filter((_, row) => rest.has(row));
    if (pages.length !== this.#pagesOf(format, covered.length)) throw new Error('not as many pages');
    if (info.tokens > 0 && covered.length !== info.tokens)
      throw new Error('the covered rows are not the format’s number');
    this.#take('capsule', pages, covered);
    blocks.forEach((block, index) => {
      this.#take('raw', pagesOf(block), markers.slice(index * BLOCK_TOKENS, (index + 1) * BLOCK_TOKENS));
    });
    this.#use('capsule', pages);
    for (const block of blocks) this.#use('raw', pagesOf(block));
    this.#drop(raw);
    const kept: Segment[] = rest.size > 0 ? [{ kind: 'raw', blocks, tokens: rest.size }] : [];
    segments.splice(segment, 1, { kind: 'capsule', pages }, ...kept);
  }

  /** A bias of 100 decides, one that forbids is only checked to name real tokens. */
  #forced(plan: StepPlan, sample: number): number | undefined {
    const user = plan.bias?.samples.indexOf(sample) ?? -1;
    if (!plan.bias || user < 0) return undefined;
    const { offsets, tokens, values } = plan.bias;
    for (let at = offsets[user] ?? 0; at < (offsets[user + 1] ?? 0); at += 1) {
      if ((tokens[at] ?? 0) >= FAKE_VOCAB) throw new Error('a bias of no token');
      if (values[at] === 100) return tokens[at];
    }
    return undefined;
  }

  /** Numbers that depend on the state alone: raw, as the engine's are. */
  #logprobs(plan: StepPlan, states: readonly number[]) {
    const { topLogprobs: wanted = new Int32Array() } = plan;
    const stateOf = (sample: number): number => states[plan.samples[sample] ?? 0] ?? 0;
    const ranks = Array.from(wanted).flatMap((count, sample) =>
      Array.from({ length: Math.max(0, count) }, (_, rank) => ({ state: stateOf(sample), rank })),
    );
    return {
      logprobs: Float32Array.from(wanted, (count, sample) => (count < 0 ? 0 : -(stateOf(sample) % 997) / 64)),
      topTokens: Int32Array.from(ranks, ({ state, rank }) => (state + rank) % FAKE_VOCAB),
      topLogprobs: Float32Array.from(ranks, ({ state, rank }) => -(state % 31) / 64 - rank),
    };
  }

  #forward(plan: StepPlan): number[] {
    const states: number[] = [];
    let row = 0;
    for (let at = 0; at < plan.chunks.length; at += 3) {
      const [slot = 0, segment = 0, rows = 0] = plan.chunks.subarray(at, at + 3);
      for (let index = 0; index < rows; index += 1, row += 1)
        states.push(this.#row(plan, row, slot, segment));
    }
    return states;
  }

  #row(plan: StepPlan, row: number, slot: number, segment: number): number {
    const segments = this.#segments(slot);
    const target = segments[segment];
    const position = plan.positions[row] ?? 0;
    const block =
      target?.kind === 'raw' ? target.blocks[Math.floor(target.tokens / BLOCK_TOKENS)] : undefined;
    if (target?.kind !== 'raw' || block === undefined) throw new Error('no room for a row');
    const page = block * PAGES_PER_BLOCK;
    if (this.#users.get(page) !== 1) throw new Error('a row is written where others read');
    const seen = segments.flatMap((other) =>
      this.#rowsOf(other).map((each) => ({ kind: other.kind, ...each })),
    );
    if (seen.length !== position) throw new Error('a row is at the wrong position');
    let state = mix(plan.tokens[row] ?? 0, this.#feature(plan, row));
    for (const { kind, state: other } of seen.sort((a, b) => a.position - b.position)) {
      state = mix(state, mix(other, kind === 'raw' ? 1 : 2));
    }
    // rows beyond the segment's own are left over from the block that this one is a copy of
    this.#contents.get(page)?.rows.splice(target.tokens % BLOCK_TOKENS, BLOCK_TOKENS, { position, state });
    target.tokens += 1;
    return state;
  }

  #feature(plan: StepPlan, row: number): number {
    const handle = plan.imageHandles[row] ?? -1;
    if (handle < 0) return 0;
    const image = this.images.get(handle);
    const imageRow = plan.imageRows[row] ?? 0;
    if (!image || imageRow >= image.tokens) throw new Error('features that are not there');
    return mix(image.mark + 1, imageRow);
  }
}

function pagesOf(block: number): number[] {
  return Array.from({ length: PAGES_PER_BLOCK }, (_, page) => block * PAGES_PER_BLOCK + page);
}

/** Slot of each row of a plan. */
function slotsOfRows({ chunks }: StepPlan): number[] {
  const slots: number[] = [];
  for (let at = 0; at < chunks.length; at += 3) {
    const [slot = 0, , rows = 0] = chunks.subarray(at, at + 3);
    slots.push(...Array.from({ length: rows }, () => slot));
  }
  return slots;
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

function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
