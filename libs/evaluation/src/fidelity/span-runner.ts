import type { PageChange } from '@kvcapsule/domain/scheduling';
import type { FormatChoice } from '@kvcapsule/domain/storage';
import type { Engine } from '@kvcapsule/engine';
import { buildPlan } from '@kvcapsule/engine/plan';
import type { SegmentRows } from './attention.js';
import { batchInput, textRows, type Rows, type SlotWork } from '../prompts/step-rows.js';

/** Part of a prefix that lies in the pool and that any number of sequences may attach. */
type HeldSegment =
  | { readonly kind: 'rows'; readonly tokens: number; readonly blocks: readonly number[] }
  | {
      readonly kind: 'stored';
      readonly format: number;
      readonly tokens: number;
      readonly pages: readonly number[];
    };

/** A computed prefix: text and pictures, raw or compressed. Valid until the scope it was made in ends. */
export interface Held {
  readonly segments: readonly HeldSegment[];
  /** Position of the token that comes next. */
  readonly tokens: number;
}

export const NOTHING_HELD: Held = { segments: [], tokens: 0 };

/** A sequence that runs: a held prefix with text of its own behind it. */
interface Running {
  readonly slot: number;
  readonly segment: number;
  position: number;
  rows: number;
  blocks: number;
}

/** Text to be read behind a prefix. */
export interface Text {
  readonly held: Held;
  readonly tokens: readonly number[];
  /** After so many of the last tokens, the next one's logits are wanted. */
  readonly samples: number;
}

/**
 * Drives an engine for measuring: a picture's span is computed once, compressed in as many ways as are
 * compared, and read by all questions about it, each in a sequence of its own. Not for two callers at once.
 */
export class SpanRunner {
  readonly #engine: Engine;
  readonly #free: number[];
  #taken: number[] = [];
  #peakBlocks = 0;
  readonly #poolBlocks: number;
  /** Closings wait for the next step. */
  #closing: PageChange[] = [];

  constructor(engine: Engine, poolBlocks: number) {
    this.#engine = engine;
    this.#poolBlocks = poolBlocks;
    this.#free = Array.from({ length: poolBlocks }, (_, block) => poolBlocks - 1 - block);
  }

  /** The most blocks ever held at once. */
  get peakBlocks(): number {
    return this.#peakBlocks;
  }

  /** Whatever is held when `work` has ended is free again. */
  async scoped<T>(work: () => Promise<T>): Promise<T> {
    const outer = this.#taken;
    this.#taken = [];
    try {
      return await work();
    } finally {
      this.#free.push(...this.#taken);
      this.#taken = outer;
    }
  }

  /**
   * Computes raw segments behind prefixes, all in one step.
   *
   * @param parts per prefix, the rows of each new segment
   */
  async grow(prefixes: readonly Held[], parts: readonly (readonly Rows[])[]): Promise<Held[]> {
    const works = new Map<number, SlotWork>();
    const grown = prefixes.map((held, slot) => {
      const changes = this.#open(slot, held);
      const chunks: SlotWork['chunks'][number][] = [];
      const segments = [...held.segments];
      for (const rows of parts[slot] ?? []) {
        const blocks = this.#take(Math.ceil(rows.tokens.length / this.#engine.info.blockTokens));
        const segment = segments.length;
        changes.push({ kind: 'segment', slot }, { kind: 'blocks', slot, segment, blocks });
        chunks.push({ segment, rows });
        segments.push({ kind: 'rows', tokens: rows.tokens.length, blocks });
      }
      works.set(slot, { changes, chunks, samples: 0 });
      const added = chunks.reduce((sum, chunk) => sum + chunk.rows.tokens.length, 0);
      return { segments, tokens: held.tokens + added };
    });
    await this.#step(works, {});
    this.#close(grown.keys());
    return grown;
  }

  /** Encodes each prefix's last segment; the raw rows stay where they are. */
  async compress(prefixes: readonly Held[], choice: FormatChoice): Promise<Held[]> {
    const works = new Map<number, SlotWork>();
    const compressed = prefixes.map((held, slot) => {
      const changes = this.#open(slot, held);
      const { segments, kept } = this.#encode(held, choice);
      changes.push({ kind: 'compress', slot, ...kept });
      works.set(slot, { changes, chunks: [], samples: 0 });
      return { segments, tokens: held.tokens };
    });
    await this.#step(works, {});
    this.#close(compressed.keys());
    return compressed;
  }

  /** Opens a sequence per text; logits `[text][sample]`. Ends with {@link SpanRunner.close}. */
  async read(texts: readonly Text[]): Promise<{ running: Running[]; logits: Float32Array[][] }> {
    const works = new Map<number, SlotWork>();
    const running = texts.map(({ held, tokens, samples }, slot) => {
      const sequence = { slot, segment: held.segments.length, position: held.tokens, rows: 0, blocks: 0 };
      const changes = [...this.#open(slot, held), { kind: 'segment', slot } as const];
      works.set(slot, { changes, chunks: [this.#append(sequence, changes, tokens)], samples });
      return sequence;
    });
    const { logits } = await this.#step(works, { returnLogits: true });
    return { running, logits: running.map(({ slot }) => logits.get(slot) ?? []) };
  }

  /** One more token for each of some sequences; the logits after it. */
  async extend(next: ReadonlyMap<Running, number>): Promise<Map<Running, Float32Array>> {
    const works = new Map<number, SlotWork>();
    for (const [sequence, token] of next) {
      const changes: PageChange[] = [];
      const chunk = this.#append(sequence, changes, [token]);
      works.set(sequence.slot, { changes, chunks: [chunk], samples: 1 });
    }
    const { logits } = await this.#step(works, { returnLogits: true });
    const rows = new Map<Running, Float32Array>();
    for (const sequence of next.keys()) {
      const [row] = logits.get(sequence.slot) ?? [];
      if (row !== undefined) rows.set(sequence, row);
    }
    return rows;
  }

  /**
   * Reads one text and looks inside: the queries of its sampled rows, `[layers][samples][heads][headDim]`, and
   * the rows of all segments as attention sees them, the text's own last.
   */
  async probe({ held, tokens, samples }: Text): Promise<{ queries: Float32Array; segments: SegmentRows[] }> {
    const sequence = { slot: 0, segment: held.segments.length, position: held.tokens, rows: 0, blocks: 0 };
    const changes: PageChange[] = [...this.#open(0, held), { kind: 'segment', slot: 0 }];
    const works = new Map([[0, { changes, chunks: [this.#append(sequence, changes, tokens)], samples }]]);
    const { queries = new Float32Array() } = await this.#step(works, { returnQueries: true });
    const segments: SegmentRows[] = [];
    for (const [segment, { tokens: count }] of [...held.segments, { tokens: tokens.length }].entries()) {
      segments.push({ tokens: count, rows: await this.#engine.readRows(0, segment) });
    }
    this.#close([0]);
    return { queries, segments };
  }

  close(running: readonly Running[]): void {
    this.#close(running.map(({ slot }) => slot));
  }

  #close(slots: Iterable<number>): void {
    for (const slot of slots) this.#closing.push({ kind: 'close', slot });
  }

  #take(count: number): number[] {
    if (count > this.#free.length) throw new RangeError('the measuring pool is too small for this batch');
    const blocks = this.#free.splice(this.#free.length - count, count);
    this.#taken.push(...blocks);
    return blocks;
  }

  /** Changes that make a new sequence which begins with a held prefix. */
  #open(slot: number, held: Held): PageChange[] {
    const changes: PageChange[] = [{ kind: 'open', slot }];
    for (const [number, segment] of held.segments.entries()) {
      if (segment.kind === 'rows') {
        const { tokens, blocks } = segment;
        changes.push({ kind: 'segment', slot });
        changes.push({ kind: 'attachBlocks', slot, segment: number, tokens, blocks });
      } else {
        const { format, tokens, pages } = segment;
        changes.push({ kind: 'attachStored', slot, format, tokens, pages });
      }
    }
    return changes;
  }

  #encode(
    held: Held,
    choice: FormatChoice,
  ): { segments: HeldSegment[]; kept: Omit<PageChange & { kind: 'compress' }, 'kind' | 'slot'> } {
    const { pagesPerBlock, blockTokens } = this.#engine.info;
    const { format, restRows } = choice;
    const tokens = (held.segments.at(-1)?.tokens ?? 0) - restRows.length;
    const pages = this.#take(Math.ceil(choice.pages / pagesPerBlock))
      .flatMap((block) => Array.from({ length: pagesPerBlock }, (_, page) => block * pagesPerBlock + page))
      .slice(0, choice.pages);
    const blocks = this.#take(Math.ceil(restRows.length / blockTokens));
    const segments: HeldSegment[] = [
      ...held.segments.slice(0, -1),
      { kind: 'stored', format, tokens, pages },
    ];
    if (restRows.length > 0) segments.push({ kind: 'rows', tokens: restRows.length, blocks });
    const segment = held.segments.length - 1;
    return { segments, kept: { segment, format, pages, blocks, restRows } };
  }

  #append(sequence: Running, changes: PageChange[], tokens: readonly number[]): SlotWork['chunks'][number] {
    const rows = textRows(tokens, sequence.position);
    sequence.position += tokens.length;
    sequence.rows += tokens.length;
    const wanted = Math.ceil(sequence.rows / this.#engine.info.blockTokens) - sequence.blocks;
    if (wanted > 0) {
      const blocks = this.#take(wanted);
      const { slot, segment } = sequence;
      changes.push({ kind: 'blocks', slot, segment, blocks });
      sequence.blocks += wanted;
    }
    return { segment: sequence.segment, rows };
  }

  async #step(
    works: ReadonlyMap<number, SlotWork>,
    returns: Parameters<typeof buildPlan>[1],
  ): Promise<{ logits: Map<number, Float32Array[]>; queries?: Float32Array }> {
    const { input, slots } = batchInput(this.#closing, works);
    this.#closing = [];
    this.#peakBlocks = Math.max(this.#peakBlocks, this.#poolBlocks - this.#free.length);
    const { logits, queries } = await this.#engine.step(buildPlan(input, returns));
    return { logits: this.#rowsOf(logits, slots), ...(queries && { queries }) };
  }

  #rowsOf(logits: Float32Array | undefined, slots: readonly number[]): Map<number, Float32Array[]> {
    const { vocab } = this.#engine.info;
    const rows = new Map<number, Float32Array[]>();
    for (const [sample, slot] of slots.entries()) {
      const row = logits?.subarray(sample * vocab, (sample + 1) * vocab);
      if (row === undefined) continue;
      const own = rows.get(slot) ?? [];
      own.push(row);
      rows.set(slot, own);
    }
    return rows;
  }
}
