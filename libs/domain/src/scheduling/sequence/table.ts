import type { BlockShape, CachedContent } from '../../paging/index.js';
import { rawBlocks } from '../../paging/index.js';
import type { PageChange, StoredSpan } from '../step.js';
import { cachedBlocks, cut, type HeldRaw, type HeldSegment, pageCount, pagesOf, runsOf } from './held.js';
import type { PageSource } from './page-source.js';

/** What a sequence holds, segment by segment as in the engine's table. Its pages are counted as they come and go. */
export class SequenceTable {
  #held: HeldSegment[] = [];
  #pages = 0;

  constructor(private readonly shape: BlockShape) {}

  get segments(): readonly HeldSegment[] {
    return this.#held;
  }

  get last(): HeldSegment | undefined {
    return this.#held.at(-1);
  }

  /** How many pages it holds; shared ones count in full. */
  get pageCount(): number {
    return this.#pages;
  }

  /** First pages of all runs that it holds. */
  get runs(): number[] {
    return this.#held.flatMap((segment) => runsOf(segment, this.shape));
  }

  /** Pages in their order; what a swap moves. */
  get pages(): number[] {
    return this.#held.flatMap((segment) => pagesOf(segment, this.shape));
  }

  /** Blocks of its last segment that are the cache's. */
  get cachedBlocksAtEnd(): number {
    return cachedBlocks(this.last);
  }

  clear(): void {
    this.#held = [];
    this.#pages = 0;
  }

  push(segment: HeldSegment): void {
    this.#held.push(segment);
    this.#pages += pageCount(segment, this.shape);
  }

  /** Rows that go on in the last segment; `cached` of the blocks are entries of the cache. */
  extend(last: HeldRaw, blocks: readonly number[], tokens: number, cached: number): void {
    last.blocks.push(...blocks);
    last.tokens += tokens;
    last.cached += cached;
    this.#pages += blocks.length * this.shape.pagesPerBlock;
  }

  /** Rebuilds the engine's table from what is held. */
  attachAll(slot: number, changes: PageChange[]): void {
    this.#held.forEach((each, segment) => {
      if (each.kind === 'stored') {
        const { format, tokens, pages } = each;
        changes.push({ kind: 'attachStored', slot, format, tokens, pages: [...pages] });
      } else {
        const { tokens, blocks } = each;
        changes.push({ kind: 'segment', slot });
        changes.push({ kind: 'attachBlocks', slot, segment, tokens, blocks: [...blocks] });
      }
    });
  }

  /** Puts stored span and rest rows in the place of the segment `at` and frees its pages. Returns what stood there. */
  compress(
    at: number,
    { format, pages: storedPages }: StoredSpan,
    restRows: readonly number[],
    { slot, source, changes }: TableWork,
  ): HeldSegment {
    const span = this.#held[at];
    if (!span) throw new Error('there is no span to compress');
    const pages = source.takePages(storedPages);
    const blocks = source.takeBlocks(rawBlocks(restRows.length, this.shape));
    changes.push({ kind: 'compress', slot, segment: at, format, pages, blocks, restRows });
    const { start, picture } = span;
    const place = { start, picture };
    const rest: HeldSegment[] =
      restRows.length > 0 ? [{ ...place, kind: 'raw', blocks, tokens: restRows.length, cached: 0 }] : [];
    const tokens = span.tokens - restRows.length;
    this.#held.splice(at, 1, { ...place, kind: 'stored', pages, tokens, format }, ...rest);
    this.#pages += pages.length + blocks.length * this.shape.pagesPerBlock - pageCount(span, this.shape);
    source.release(runsOf(span, this.shape));
    return span;
  }

  /** Cuts a raw segment in two; the first one keeps `tokens` tokens, whole blocks. */
  split(at: number, tokens: number, { slot, changes }: Pick<TableWork, 'slot' | 'changes'>): void {
    const whole = this.#held[at];
    if (whole?.kind !== 'raw') throw new Error('only raw rows are cut');
    changes.push({ kind: 'split', slot, segment: at, tokens });
    this.#held.splice(at, 1, ...cut(whole, tokens / this.shape.blockTokens, this.shape));
  }

  /** Fresh pages for everything, in the same order. */
  restore(source: PageSource): void {
    const tailOf = (segment: HeldSegment | undefined): number =>
      segment?.kind === 'stored' ? segment.pages.length % this.shape.pagesPerBlock : 0;
    // equal tails one after the other fill their blocks, as was counted
    const order = [...this.#held.keys()].sort((a, b) => tailOf(this.#held[a]) - tailOf(this.#held[b]));
    for (const at of order) {
      const segment = this.#held[at];
      if (segment?.kind === 'raw')
        this.#held[at] = { ...segment, blocks: source.takeBlocks(segment.blocks.length), cached: 0 };
      else if (segment) this.#held[at] = { ...segment, pages: source.takePages(segment.pages.length) };
    }
  }

  /** The block of raw text that begins with this token; `undefined` when it is not raw. */
  textContent(start: number): CachedContent | undefined {
    const raw = this.#held.findLast((each) => each.start <= start);
    const block = raw?.kind === 'raw' ? raw.blocks[(start - raw.start) / this.shape.blockTokens] : undefined;
    return block === undefined ? undefined : { kind: 'text', block };
  }

  /** The span that begins with this token. */
  spanContent(kind: 'picture' | 'run', start: number): CachedContent {
    const held = this.#held.filter((each) => each.start === start);
    const stored = held.find((each) => each.kind === 'stored');
    const raw = held.find((each) => each.kind === 'raw');
    return {
      kind,
      stored: stored && { format: stored.format, tokens: stored.tokens, pages: stored.pages },
      raw: raw && { tokens: raw.tokens, blocks: raw.blocks },
    };
  }
}

/** Where a table's changes go and its pages come from. */
export interface TableWork {
  readonly slot: number;
  readonly source: PageSource;
  readonly changes: PageChange[];
}
