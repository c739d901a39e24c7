import type { PageChange } from '@kvcapsule/domain/scheduling';
import { spanFormat } from '@kvcapsule/domain/storage';
import type { Engine, StepResult } from '@kvcapsule/engine';
import { buildPlan } from '@kvcapsule/engine/plan';
import {
  batchInput,
  pictureRows,
  textRows,
  type PicturePrompt,
  type Rows,
  type SlotWork,
} from '../prompts/step-rows.js';

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
  #closing: PageChange[] = [];

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
      const changes: PageChange[] = [{ kind: 'open', slot }];
      const chunks = [
        this.#newSegment(slot, changes, textRows(prompt.prefix, 0)),
        this.#newSegment(
          slot,
          changes,
          pictureRows(prompt.picture, prompt.imageHandle, prompt.prefix.length, imageTokenId),
        ),
      ];
      works.set(slot, { changes, chunks, samples: 0 });
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
      const changes: PageChange[] = [];
      if (options.format !== undefined) this.#compress(slot, changes, options.format);
      const rows = textRows(tokens, this.#at(slot).tokens);
      const chunk =
        options.newSegment === true
          ? this.#newSegment(slot, changes, rows)
          : this.#append(slot, changes, rows);
      works.set(slot, { changes, chunks: [chunk], samples });
    }
    const { result, slots } = await this.#step(works, true);
    return { logits: result.logits ?? new Float32Array(), slots };
  }

  /** Forgets what follows the pictures, which stay as they are in the pool; nothing may be compressed yet. */
  async rewind(): Promise<void> {
    const { blockTokens } = this.#engine.info;
    const changes: PageChange[] = [];
    for (const [slot, sequence] of this.#sequences) {
      const { prefix, picture } = sequence.prompt;
      changes.push({ kind: 'close', slot }, { kind: 'open', slot });
      let taken = 0;
      for (const [segment, { length }] of [prefix, picture].entries()) {
        const blocks = sequence.blocks.slice(taken, taken + Math.ceil(length / blockTokens));
        taken += blocks.length;
        changes.push({ kind: 'segment', slot });
        changes.push({ kind: 'attachBlocks', slot, segment, tokens: length, blocks });
      }
      this.#free.push(...sequence.blocks.splice(taken));
      sequence.tokens = prefix.length + picture.length;
      sequence.segments = PICTURE_SEGMENT + 1;
    }
    await this.#step(new Map([[0, { changes, chunks: [], samples: 0 }]]));
  }

  /** Forgets all slots; their blocks are free again. */
  close(): void {
    for (const [slot, sequence] of this.#sequences) {
      this.#free.push(...sequence.blocks);
      this.#closing.push({ kind: 'close', slot });
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

  #newSegment(slot: number, changes: PageChange[], rows: Rows): SlotWork['chunks'][number] {
    const sequence = this.#at(slot);
    changes.push({ kind: 'segment', slot });
    sequence.segments++;
    sequence.tailBlocks = 0;
    sequence.tailRows = 0;
    return this.#append(slot, changes, rows);
  }

  #append(slot: number, changes: PageChange[], rows: Rows): SlotWork['chunks'][number] {
    const sequence = this.#at(slot);
    const segment = sequence.segments - 1;
    sequence.tailRows += rows.tokens.length;
    sequence.tokens += rows.tokens.length;
    const wanted = Math.ceil(sequence.tailRows / this.#engine.info.blockTokens) - sequence.tailBlocks;
    if (wanted > 0) {
      const blocks = this.#take(wanted);
      changes.push({ kind: 'blocks', slot, segment, blocks });
      sequence.blocks.push(...blocks);
      sequence.tailBlocks += wanted;
    }
    return { segment, rows };
  }

  #compress(slot: number, changes: PageChange[], format: number): void {
    const { info } = this.#engine;
    const { pagesPerBlock, blockTokens } = info;
    const sequence = this.#at(slot);
    const { picture } = sequence.prompt;
    const markerRows = [...picture.keys()].filter((row) => picture[row] !== info.imageTokenId);
    const choice = spanFormat(info, format, { length: picture.length, markerRows });
    if (choice === undefined) throw new RangeError(`format ${format} does not fit the picture`);
    const { pages: pageCount, restRows } = choice;
    const storedBlocks = this.#take(Math.ceil(pageCount / pagesPerBlock));
    const pages = storedBlocks
      .flatMap((block) => Array.from({ length: pagesPerBlock }, (_, page) => block * pagesPerBlock + page))
      .slice(0, pageCount);
    const blocks = this.#take(Math.ceil(restRows.length / blockTokens));
    const kept = { segment: PICTURE_SEGMENT, format, pages, blocks, restRows };
    changes.push({ kind: 'compress', slot, ...kept });
    // The prefix keeps its blocks; the span's are free as soon as the step has made its changes.
    const prefixBlocks = sequence.blocks.length - Math.ceil(picture.length / blockTokens);
    const spanBlocks = sequence.blocks.splice(prefixBlocks);
    this.#free.unshift(...spanBlocks);
    sequence.blocks.push(...storedBlocks, ...blocks);
    if (restRows.length > 0) sequence.segments++;
  }

  async #step(
    works: ReadonlyMap<number, SlotWork>,
    returnLogits = false,
  ): Promise<{ result: StepResult; slots: number[] }> {
    const { input, slots } = batchInput(this.#closing, works);
    this.#closing = [];
    return { result: await this.#engine.step(buildPlan(input, { returnLogits })), slots };
  }
}
