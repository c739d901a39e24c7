import type { PageChange } from '@kvcapsule/domain/scheduling';
import { chooseFormat, type FormatChoice } from '@kvcapsule/domain/storage';
import type { Codec, Engine } from '@kvcapsule/engine';
import { buildPlan } from '@kvcapsule/engine/plan';
import {
  batchInput,
  coveredRows,
  pictureRows,
  textRows,
  type PicturePrompt,
  type SlotWork,
} from '@kvcapsule/evaluation/prompts';
import { cpuSeconds, timed } from './engine-side.js';
import type { Timed } from './side.js';

/** Room for the tokens that a measured context grows by. */
const TEXT_BLOCKS = 64;
const SOURCE_SLOT = 0;
const NO_WORK: ReadonlyMap<number, SlotWork> = new Map();

export interface PictureContext {
  readonly codec: Codec;
  readonly slots: readonly number[];
  /** Tokens of each sequence before the growing text, and the segment that the text is in. */
  readonly tokens: number;
  readonly textSegment: number;
  grown: number;
  next: number[];
}

/**
 * Long contexts of pictures: one picture's keys and values are computed once and copied, each copy into pages of its
 * own, so that every sequence reads as much memory as it would with different pictures.
 */
export class PictureContexts {
  readonly #engine: Engine;
  readonly #poolBlocks: number;
  readonly #picture: readonly number[];
  readonly #sourceBlocks: readonly number[];
  #nextBlock: number;
  #nextSlot = SOURCE_SLOT + 1;

  private constructor(engine: Engine, poolBlocks: number, picture: readonly number[]) {
    this.#engine = engine;
    this.#poolBlocks = poolBlocks;
    this.#picture = picture;
    this.#sourceBlocks = [...Array(Math.ceil(picture.length / engine.info.blockTokens)).keys()];
    this.#nextBlock = this.#sourceBlocks.length;
  }

  static async prepare(engine: Engine, poolBlocks: number, prompt: PicturePrompt): Promise<PictureContexts> {
    const contexts = new PictureContexts(engine, poolBlocks, prompt.picture);
    const blocks = contexts.#sourceBlocks;
    const slot = SOURCE_SLOT;
    const changes: PageChange[] = [
      { kind: 'open', slot },
      { kind: 'segment', slot },
      { kind: 'blocks', slot, segment: 0, blocks },
    ];
    const rows = pictureRows(prompt.picture, prompt.imageHandle, 0, engine.info.imageTokenId);
    await contexts.#step(
      new Map([[slot, { changes: [], chunks: [{ segment: 0, rows }], samples: 0 }]]),
      changes,
    );
    return contexts;
  }

  /** Visual tokens of one picture. */
  get visualTokens(): number {
    return coveredRows(this.#picture, this.#engine.info.imageTokenId).length;
  }

  /** Blocks that `build` takes for raw rows, the most of all codecs. */
  blocksFor(batch: number, pictures: number): number {
    return batch * (pictures * this.#sourceBlocks.length + TEXT_BLOCKS);
  }

  /** @returns undefined when the engine has no format of the codec for these pictures */
  async build(codec: Codec, batch: number, pictures: number): Promise<PictureContext | undefined> {
    const { info } = this.#engine;
    const markerRows = [...this.#picture.keys()].filter((row) => this.#picture[row] !== info.imageTokenId);
    const format = chooseFormat(info, codec, { length: this.#picture.length, markerRows });
    if (codec !== 'raw' && format === undefined) return undefined;
    const slots = Array.from({ length: batch }, () => this.#nextSlot++);
    let textSegment = 0;
    for (const slot of slots) {
      await this.#step(NO_WORK, [{ kind: 'open', slot }]);
      textSegment = 0;
      for (let picture = 0; picture < pictures; picture++) {
        textSegment += await this.#append(slot, textSegment, format);
      }
      const blocks = this.#take(TEXT_BLOCKS);
      await this.#step(NO_WORK, [{ kind: 'segment', slot }]);
      await this.#step(NO_WORK, [{ kind: 'blocks', slot, segment: textSegment, blocks }]);
    }
    const tokens = pictures * this.#picture.length;
    return { codec, slots, tokens, textSegment, grown: 0, next: slots.map(() => 0) };
  }

  /** Seconds of each step of all sequences of a context. */
  async decode(
    context: PictureContext,
    steps: number,
  ): Promise<Pick<Timed<never>, 'seconds' | 'cpuSeconds'>> {
    const seconds: number[] = [];
    const cpu = cpuSeconds();
    const position = Math.min(context.tokens, this.#engine.info.contextTokens - 1);
    for (let step = 0; step < steps; step++) {
      const works = new Map<number, SlotWork>();
      for (const [index, slot] of context.slots.entries()) {
        const rows = textRows([context.next[index] ?? 0], position);
        works.set(slot, { changes: [], chunks: [{ segment: context.textSegment, rows }], samples: 1 });
      }
      context.grown++;
      seconds.push(
        await timed(async () => {
          const { tokens } = await this.#engine.step(buildPlan(batchInput([], works).input));
          context.next = [...tokens];
        }),
      );
    }
    return { seconds, cpuSeconds: cpuSeconds() - cpu };
  }

  /** Steps that a context can still take. */
  stepsLeft(context: PictureContext): number {
    return TEXT_BLOCKS * this.#engine.info.blockTokens - context.grown;
  }

  /** Forgets all contexts. */
  async clear(): Promise<void> {
    const changes: PageChange[] = [];
    for (let slot = SOURCE_SLOT + 1; slot < this.#nextSlot; slot++) changes.push({ kind: 'close', slot });
    this.#nextSlot = SOURCE_SLOT + 1;
    this.#nextBlock = this.#sourceBlocks.length;
    await this.#step(NO_WORK, changes);
  }

  /** Adds a copy of the picture; how many segments that makes. */
  async #append(slot: number, segment: number, format: FormatChoice | undefined): Promise<number> {
    const { pagesPerBlock, blockTokens } = this.#engine.info;
    // the stored span's pages come first, so that the copy it is made of can be given back
    const storedBlocks = this.#take(Math.ceil((format?.pages ?? 0) / pagesPerBlock));
    const restRows = format?.restRows ?? [];
    const blocks = this.#take(Math.ceil(restRows.length / blockTokens));
    const kept = this.#nextBlock;
    const copies = this.#take(this.#sourceBlocks.length);
    const changes = copies.map((to, index): PageChange => ({
      kind: 'copyBlock',
      from: this.#sourceBlocks[index] ?? 0,
      to,
    }));
    const tokens = this.#picture.length;
    changes.push({ kind: 'segment', slot });
    changes.push({ kind: 'attachBlocks', slot, segment, tokens, blocks: copies });
    if (format !== undefined) {
      const pages = storedBlocks
        .flatMap((block) => Array.from({ length: pagesPerBlock }, (_, page) => block * pagesPerBlock + page))
        .slice(0, format.pages);
      changes.push({ kind: 'compress', slot, segment, format: format.format, pages, blocks, restRows });
      this.#nextBlock = kept;
    }
    await this.#step(NO_WORK, changes);
    return format !== undefined && restRows.length > 0 ? 2 : 1;
  }

  #take(count: number): number[] {
    if (this.#nextBlock + count > this.#poolBlocks) throw new RangeError('the measuring pool is too small');
    return Array.from({ length: count }, () => this.#nextBlock++);
  }

  async #step(works: ReadonlyMap<number, SlotWork>, changes: readonly PageChange[]): Promise<void> {
    await this.#engine.step(buildPlan(batchInput(changes, works).input));
  }
}
