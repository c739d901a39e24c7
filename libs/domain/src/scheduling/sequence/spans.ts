import type { BlockShape, PromptSegment } from '../../paging/index.js';
import type { ScheduledPicture, StoredSpan, TextForm } from '../step.js';

/** Tokens `[start, end)` of a sequence that make one raw segment until they are stored. */
export interface Span {
  readonly start: number;
  readonly end: number;
  /** Index of the picture whose span this is. */
  readonly picture: number | undefined;
  /** What it becomes when its last token is computed; `undefined`: it stays raw, or is not full yet. */
  readonly stored: StoredSpan | undefined;
  readonly restRows: readonly number[];
}

/** How a sequence's tokens are kept. */
export interface SpanRules {
  readonly parts: readonly PromptSegment[];
  readonly pictures: readonly ScheduledPicture[];
  readonly text: TextForm | undefined;
}

/** The span that a token lies in, of a sequence of so many tokens: the last part goes on with the text. */
export function spanAt({ parts, pictures, text }: SpanRules, token: number, totalTokens: number): Span {
  const last = parts.at(-1);
  // what is generated lies in the last one
  const part = last && last.start <= token ? last : parts.findLast(({ start }) => start <= token);
  if (!part) throw new Error('a sequence without tokens is scheduled');
  const end = part === last ? totalTokens : part.start + part.length;
  if (part.picture !== undefined) {
    const { stored, restRows = [] } = pictures[part.picture] ?? {};
    return { start: part.start, end, picture: part.picture, stored, restRows };
  }
  const raw = { picture: undefined, stored: undefined, restRows: [] };
  if (!text) return { start: part.start, end, ...raw };
  const start = token - ((token - part.start) % text.tokens);
  if (start + text.tokens > end) return { start, end, ...raw };
  return { ...raw, start, end: start + text.tokens, stored: text.stored };
}

/**
 * Blocks that stored spans take at most when they are put down one after the other. Where there are several, none is
 * counted on to find its tail's room in a block that is there already.
 */
export class StoredBlocks {
  #whole = 0;
  #last = 0;
  #count = 0;
  /** The source's answer for the only tail; it is asked once, since it may promise room once only. */
  #lastTakesBlock: boolean | undefined;
  #tails: number[] | undefined;

  constructor(
    private readonly source: { tailTakesBlock(pages: number): boolean },
    private readonly shape: BlockShape,
  ) {}

  add(pages: number): void {
    const tail = pages % this.shape.pagesPerBlock;
    this.#whole += (pages - tail) / this.shape.pagesPerBlock;
    if (tail === 0) return;
    this.#tails ??= [];
    this.#tails[tail] = (this.#tails[tail] ?? 0) + 1;
    this.#last = tail;
    this.#count += 1;
  }

  get blocks(): number {
    if (!this.#tails) return this.#whole;
    if (this.#count === 1) {
      this.#lastTakesBlock ??= this.source.tailTakesBlock(this.#last);
      return this.#whole + (this.#lastTakesBlock ? 1 : 0);
    }
    return this.#tails.reduce(
      (sum, count, tail) => sum + Math.ceil(count / this.#inBlock(tail)),
      this.#whole,
    );
  }

  #inBlock(tail: number): number {
    return Math.floor(this.shape.pagesPerBlock / tail);
  }
}
