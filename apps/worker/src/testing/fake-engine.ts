import {
  type EncodedImage,
  type NativeEngine,
  type NativeEngineInfo,
  PageOp,
  type StepPlan,
  type StepResult,
} from '@kvcapsule/engine';

interface Row {
  readonly position: number;
  /** Stands for keys and values: depends on all that this row has attended to, and how it was stored then. */
  readonly state: number;
}

interface Segment {
  readonly kind: 'raw' | 'capsule';
  readonly blocks: number[];
  readonly rows: Row[];
}

export const FAKE_VOCAB = 64;
export const FAKE_IMAGE_TOKEN = 3;
export const FAKE_END = 2;

/**
 * An engine without arithmetic. It checks every page operation (each block has one owner, nothing is written
 * that is not owned) and computes tokens that depend on all a row attends to, on order and on compression, but
 * on nothing else; so equal answers prove that batching, chunking and preemption change nothing.
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
  readonly #owners = new Map<number, number>();
  #handles = 0;

  constructor(
    readonly poolBlocks: number,
    formats: readonly { tokens: number; pages: number }[] = [],
    readonly delayMs = 0,
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
      blockTokens: 16,
      pagesPerBlock: 8,
      blockBytes: 512,
      pageBytes: 64,
      weightBytes: 0,
      formats: formats.map(({ tokens, pages }) => ({
        codec: 'capsule',
        profileId: `n${tokens}`,
        tokens,
        markerRows: new Int32Array(),
        pages,
        bytes: pages * 64,
        bytesPerToken: 0,
        headerBytes: 0,
      })),
    };
  }

  get ownedBlocks(): number {
    return this.#owners.size;
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
    if (!this.images.delete(handle)) return Promise.reject(new Error('released twice'));
    return Promise.resolve();
  }

  async step(plan: StepPlan): Promise<StepResult> {
    await this.#delay();
    this.steps += 1;
    this.#applyOps(plan.ops);
    if (this.failNext > 0 && plan.tokens.length > 0) {
      this.failNext -= 1;
      throw Object.assign(new Error('the engine failed'), { code: 'ENGINE_FAILED' });
    }
    const states = this.#forward(plan);
    this.largestBatch = Math.max(this.largestBatch, plan.samples.length);
    const tokens = Int32Array.from(plan.samples, (row, index) => {
      const seed =
        (plan.temperature[index] ?? 0) > 0 ? Number(BigInt.asUintN(32, plan.seed[index] ?? 0n)) : 0;
      return mix(states[row] ?? 0, seed) % FAKE_VOCAB;
    });
    return { tokens, logprobs: new Float32Array(tokens.length), compressSeconds: 0, forwardSeconds: 0 };
  }

  addToGram(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  fit(): Promise<void> {
    return Promise.reject(new Error('not here'));
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }

  async #delay(): Promise<void> {
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
  }

  #segments(slot: number): Segment[] {
    const segments = this.#slots.get(slot);
    if (!segments) throw new Error(`slot ${slot} is not open`);
    return segments;
  }

  #own(slot: number, blocks: readonly number[]): void {
    for (const block of blocks) {
      if (block < 0 || block >= this.poolBlocks) throw new Error(`block ${block} is out of range`);
      if (this.#owners.has(block)) throw new Error(`block ${block} has an owner`);
      this.#owners.set(block, slot);
    }
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
    const segments = this.#segments(slot);
    if (code === PageOp.Close) {
      for (const { blocks } of segments) for (const block of blocks) this.#owners.delete(block);
      this.#slots.delete(slot);
    } else if (code === PageOp.Segment) {
      segments.push({ kind: 'raw', blocks: [], rows: [] });
    } else if (code === PageOp.Blocks) {
      const [segment = -1, ...blocks] = args;
      this.#own(slot, blocks);
      segments[segment]?.blocks.push(...blocks);
    } else {
      this.#compress(slot, segments, args);
    }
  }

  #compress(slot: number, segments: Segment[], args: number[]): void {
    const [segment = -1, format = -1, ...lists] = args;
    const take = (): number[] => lists.splice(0, lists.shift() ?? 0);
    const [pages, blocks, rest] = [take(), take(), new Set(take())];
    const raw = segments[segment];
    const info = this.info.formats[format];
    if (!raw || !info || pages.length !== info.pages) throw new Error('a compression that does not fit');
    const covered = raw.rows.filter((_, row) => !rest.has(row));
    if (covered.length !== info.tokens) throw new Error('the covered rows are not the format’s number');
    const capsule = [...new Set(pages.map((page) => Math.floor(page / 8)))];
    this.#own(slot, [...capsule, ...blocks]);
    for (const block of raw.blocks) this.#owners.delete(block);
    const markers = raw.rows.filter((_, row) => rest.has(row));
    segments.splice(
      segment,
      1,
      { kind: 'capsule', blocks: capsule, rows: covered },
      ...(rest.size > 0 ? [{ kind: 'raw' as const, blocks, rows: markers }] : []),
    );
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
    if (target?.kind !== 'raw' || target.rows.length >= target.blocks.length * 16)
      throw new Error('no room for a row');
    const seen = segments.flatMap(({ kind, rows }) => rows.map((other) => ({ kind, ...other })));
    if (seen.length !== position) throw new Error('a row is at the wrong position');
    let state = mix(plan.tokens[row] ?? 0, this.#feature(plan, row));
    for (const { kind, state: other } of seen.sort((a, b) => a.position - b.position)) {
      state = mix(state, mix(other, kind === 'raw' ? 1 : 2));
    }
    target.rows.push({ position, state });
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

function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
