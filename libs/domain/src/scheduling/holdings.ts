import type { BlockShape, CachedContent, CacheEntry } from '../paging/index.js';

/** A segment of a sequence's table: raw rows in blocks, or a span in one of the engine's formats. */
export type SegmentPages =
  | { readonly kind: 'raw'; readonly blocks: readonly number[]; readonly tokens: number }
  | {
      readonly kind: 'stored';
      readonly pages: readonly number[];
      readonly tokens: number;
      readonly format: number;
    };

/** What is held in one format, shared pages counted once. */
export interface Holding {
  pages: number;
  /** Rows that are kept there. */
  tokens: number;
  /** Spans, or blocks of raw rows. */
  pieces: number;
}

/** What one sequence holds, and what of it is the prefix cache's too. */
interface Holder {
  readonly segments: Iterable<SegmentPages>;
  readonly entries: Iterable<CacheEntry>;
}

/**
 * Pages and rows by the engine's number of their format; raw ones under `undefined`. Content with n users counts as
 * its nth part with each: its size is looked at, not its pages one by one.
 */
export function holdingsOf(holders: Iterable<Holder>, shape: BlockShape): Map<number | undefined, Holding> {
  const holdings = new Map<number | undefined, Holding>();
  const add = (format: number | undefined, weight: number, held: Holding): void => {
    const sum = holdings.get(format) ?? { pages: 0, tokens: 0, pieces: 0 };
    sum.pages += weight * held.pages;
    sum.tokens += weight * held.tokens;
    sum.pieces += weight * held.pieces;
    holdings.set(format, sum);
  };
  for (const { segments, entries } of holders) {
    for (const segment of segments) {
      if (segment.kind === 'raw') add(undefined, 1, rawHolding(segment.blocks.length, segment.tokens, shape));
      else add(segment.format, 1, storedHolding(segment));
    }
    for (const { users, content, tokenIds } of entries) {
      if (users > 1)
        addContent(content, tokenIds.length, shape, (format, held) => {
          add(format, 1 / users - 1, held);
        });
    }
  }
  return rounded(holdings);
}

function addContent(
  content: CachedContent,
  tokens: number,
  shape: BlockShape,
  add: (format: number | undefined, held: Holding) => void,
): void {
  if (content.kind === 'text') {
    add(undefined, rawHolding(1, tokens, shape));
    return;
  }
  const { stored, raw } = content;
  if (stored) add(stored.format, storedHolding(stored));
  if (raw) add(undefined, rawHolding(raw.blocks.length, raw.tokens, shape));
}

function rawHolding(blocks: number, tokens: number, { pagesPerBlock }: BlockShape): Holding {
  return { pages: blocks * pagesPerBlock, tokens, pieces: blocks };
}

function storedHolding({ pages, tokens }: { pages: readonly number[]; tokens: number }): Holding {
  return { pages: pages.length, tokens, pieces: 1 };
}

/** Parts of content make whole pages together, but for what numbers cannot say. */
function rounded(holdings: Map<number | undefined, Holding>): Map<number | undefined, Holding> {
  const whole = [...holdings].map(([format, { pages, tokens, pieces }]): [number | undefined, Holding] => [
    format,
    { pages: Math.round(pages), tokens: Math.round(tokens), pieces: Math.round(pieces) },
  ]);
  return new Map(whole.filter(([, { pieces }]) => pieces > 0));
}
