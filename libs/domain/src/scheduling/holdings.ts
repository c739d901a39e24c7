import type { BlockShape } from '../paging/index.js';

/** A segment of a sequence's table: raw rows in blocks, or a span in one of the engine's formats. */
export type SegmentPages =
  | { readonly kind: 'raw'; readonly blocks: readonly number[]; readonly tokens: number }
  | {
      readonly kind: 'capsule';
      readonly pages: readonly number[];
      readonly tokens: number;
      readonly profile: number;
    };

/** What is held in one format, shared pages counted once. */
export interface Holding {
  pages: number;
  /** Rows that are kept there. */
  tokens: number;
  /** Spans, or blocks of raw rows. */
  pieces: number;
}

/** Pages and rows of the segments by the engine's number of their format; raw ones under `undefined`. */
export function holdingsOf(
  segments: Iterable<SegmentPages>,
  { blockTokens, pagesPerBlock }: BlockShape,
): Map<number | undefined, Holding> {
  const pieces = new Map<number, { format: number | undefined; pages: number; tokens: number }>();
  for (const segment of segments) {
    if (segment.kind === 'capsule') {
      const { pages, tokens, profile: format } = segment;
      pieces.set(pages[0] ?? -1, { format, pages: pages.length, tokens });
      continue;
    }
    segment.blocks.forEach((block, index) => {
      const tokens = Math.max(0, Math.min(blockTokens, segment.tokens - index * blockTokens));
      pieces.set(block * pagesPerBlock, { format: undefined, pages: pagesPerBlock, tokens });
    });
  }
  const holdings = new Map<number | undefined, Holding>();
  for (const { format, pages, tokens } of pieces.values()) {
    const holding = holdings.get(format) ?? { pages: 0, tokens: 0, pieces: 0 };
    holding.pages += pages;
    holding.tokens += tokens;
    holding.pieces += 1;
    holdings.set(format, holding);
  }
  return holdings;
}
