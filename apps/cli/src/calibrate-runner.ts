import { PageOp, spanFormat, type Engine, type StepResult } from '@kvcapsule/engine';
import {
  buildPlan,
  pictureRows,
  textRows,
  type PicturePrompt,
  type Row,
  type SlotWork,
} from './step-plan.js';

/** Number of the picture's span, and after compression of its capsule; the text before it is number 0. */
export const PICTURE_SEGMENT = 1;

interface Sequence {
  readonly prompt: PicturePrompt;
  tokens: number;
  segments: number;
  /** Of all segments, in their order. */
  readonly blocks: number[];
  /** The last segment's blocks, and how many rows they hold. */
  tailBlocks: number;
  tailRows: number;
}

/**
 * Drives an engine for offline work: a handful of sequences of one picture and one question each, all of
 * them in every step, whole blocks only. The server's scheduler has other aims; this one is for measuring.
 */
export class BatchRunner {
  readonly #engine: Engine;
  readonly #free: number[];
  readonly #sequences = new Map<number, Sequence>();
  /** Closings wait for the next step: a step without rows computes nothing. */
  #closing: number[] = [];

  constructor(engine: Engine, poolBlocks: number) {
    this.#engine = engine;
    this.#free = Array.from({ length: poolBlocks }, (_, block) => poolBlocks - 1 - block);
  }

  /** Opens slots 0, 1, ... and computes text before the picture and the picture itself, uncompressed. */
  async prefill(prompts: readonly PicturePrompt[]): Promise<void> {
    const { imageTokenId } = this.#engine.info;
    const works = new Map<number, SlotWork>();
    for (const [slot, prompt] of prompts.entries()) {
      this.#sequences.set(slot, { prompt, tokens: 0, segments: 0, blocks: [], tailBlocks: 0, tailRows: 0 });
      const ops: number[] = [PageOp.Open, slot, 0];
      const chunks = [
        this.#newSegment(slot, ops, textRows(prompt.prefix, 0)),
        this.#newSegment(
          slot,
          ops,
          pictureRows(prompt.picture, prompt.imageHandle, prompt.prefix.length, imageTokenId),
        ),
      ];
      works.set(slot, { ops, chunks, samples: 0 });
    }
    await this.#step(works);
  }

  /**
   * Adds text to slots, in their last segment or in a new one, and gives the logits after its last
   * `samples` rows, `[samples of all slots][vocab]`, with the slot of each. With `format`, the pictures'
   * spans are stored in that format first.
   */
  async extend(
    texts: ReadonlyMap<number, { readonly tokens: readonly number[]; readonly samples: number }>,
    options: { readonly format?: number; readonly newSegment?: boolean } = {},
  ): Promise<{ logits: Float32Array; slots: number[] }> {
    const works = new Map<number, SlotWork>();
    for (const [slot, { tokens, samples }] of texts) {
      const ops: number[] = [];
      if (options.format !== undefined) this.#compress(slot, ops, options.format);
      const rows = textRows(tokens, this.#at(slot).tokens);
      const chunk =
        options.newSegment === true ? this.#newSegment(slot, ops, rows) : this.#append(slot, ops, rows);
      works.set(slot, { ops, chunks: [chunk], samples });
    }
    const { result, slots } = await this.#step(works, true);
    return { logits: result.logits ?? new Float32Array(), slots };
  }

  /** Forgets what follows the pictures, which stay as they are in the pool; nothing may be compressed yet. */
  async rewind(): Promise<void> {
    const { blockTokens } = this.#engine.info;
    const ops: number[] = [];
    for (const [slot, sequence] of this.#sequences) {
      const { prefix, picture } = sequence.prompt;
      ops.push(PageOp.Close, slot, 0, PageOp.Open, slot, 0);
      let taken = 0;
      for (const [segment, { length }] of [prefix, picture].entries()) {
        const blocks = sequence.blocks.slice(taken, taken + Math.ceil(length / blockTokens));
        taken += blocks.length;
        ops.push(PageOp.Segment, slot, 0);
        ops.push(PageOp.AttachBlocks, slot, 2 + blocks.length, segment, length, ...blocks);
      }
      this.#free.push(...sequence.blocks.splice(taken));
      sequence.tokens = prefix.length + picture.length;
      sequence.segments = PICTURE_SEGMENT + 1;
    }
    await this.#step(new Map([[0, { ops, chunks: [], samples: 0 }]]));
  }

  /** Forgets all slots; their blocks are free again. */
  close(): void {
    for (const [slot, sequence] of this.#sequences) {
      this.#free.push(...sequence.blocks);
      this.#closing.push(PageOp.Close, slot, 0);
    }
    this.#sequences.clear();
  }

  #at(slot: number): Sequence {
    const sequence = this.#sequences.get(slot);
    if (sequence === undefined) throw new RangeError(`slot ${slot} is not open`);
    return sequence;
  }

  #take(count: number): number[] {
    if (count > this.#free.length) throw new RangeError('the measuring pool is too small for this batch');
    return this.#free.splice(this.#free.length - count, count);
  }

  #newSegment(slot: number, ops: number[], rows: readonly Row[]): SlotWork['chunks'][number] {
    const sequence = this.#at(slot);
    ops.push(PageOp.Segment, slot, 0);
    sequence.segments++;
    sequence.tailBlocks = 0;
    sequence.tailRows = 0;
    return this.#append(slot, ops, rows);
  }

  #append(slot: number, ops: number[], rows: readonly Row[]): SlotWork['chunks'][number] {
    const sequence = this.#at(slot);
    const segment = sequence.segments - 1;
    sequence.tailRows += rows.length;
    sequence.tokens += rows.length;
    const wanted = Math.ceil(sequence.tailRows / this.#engine.info.blockTokens) - sequence.tailBlocks;
    if (wanted > 0) {
      const blocks = this.#take(wanted);
      ops.push(PageOp.Blocks, slot, 1 + blocks.length, segment, ...blocks);
      sequence.blocks.push(...blocks);
      sequence.tailBlocks += wanted;
    }
    return { segment, rows };
  }

  #compress(slot: number, ops: number[], format: number): void {
    const { info } = this.#engine;
    const { pagesPerBlock, blockTokens } = info;
    const sequence = this.#at(slot);
    const { picture } = sequence.prompt;
    const markerRows = [...picture.keys()].filter((row) => picture[row] !== info.imageTokenId);
    const choice = spanFormat(info, format, { length: picture.length, markerRows });
    if (choice === undefined) throw new RangeError(`format ${format} does not fit the picture`);
    const { pages: pageCount, restRows: rest } = choice;
    const capsuleBlocks = this.#take(Math.ceil(pageCount / pagesPerBlock));
    const pages = capsuleBlocks
      .flatMap((block) => Array.from({ length: pagesPerBlock }, (_, page) => block * pagesPerBlock + page))
      .slice(0, pageCount);
    const restBlocks = this.#take(Math.ceil(rest.length / blockTokens));
    const lists = [pages, restBlocks, rest].flatMap((list) => [list.length, ...list]);
    ops.push(PageOp.Compress, slot, 2 + lists.length, PICTURE_SEGMENT, format, ...lists);
    // The prefix keeps its blocks; the span's are free as soon as the step has run its ops.
    const prefixBlocks = sequence.blocks.length - Math.ceil(picture.length / blockTokens);
    const spanBlocks = sequence.blocks.splice(prefixBlocks);
    this.#free.unshift(...spanBlocks);
    sequence.blocks.push(...capsuleBlocks, ...restBlocks);
    if (rest.length > 0) sequence.segments++;
  }

  async #step(
    works: ReadonlyMap<number, SlotWork>,
    returnLogits = false,
  ): Promise<{ result: StepResult; slots: number[] }> {
    const { plan, slots } = buildPlan(this.#closing, works, { returnLogits });
    this.#closing = [];
    return { result: await this.#engine.step(plan), slots };
  }
}
