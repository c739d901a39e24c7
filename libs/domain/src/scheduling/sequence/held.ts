import { type BlockShape, type CachedContent, pageRuns } from '../../paging/index.js';
import type { SegmentPages } from '../holdings.js';

/** What of a sequence a segment of the engine's table holds. */
interface Place {
  /** The first token; a picture's rest rows have its span's. */
  readonly start: number;
  readonly picture: number | undefined;
}

export type HeldRaw = Place & {
  readonly kind: 'raw';
  readonly blocks: number[];
  tokens: number;
  /** How many of the blocks, from the first on, are entries of the cache. */
  cached: number;
};

/** A segment of the engine's table. */
export type HeldSegment = HeldRaw | (SegmentPages & Place & { readonly kind: 'stored' });

/** First pages of a segment's runs. */
export function runsOf(segment: HeldSegment, { pagesPerBlock }: BlockShape): number[] {
  return segment.kind === 'stored'
    ? pageRuns(segment.pages, pagesPerBlock)
    : segment.blocks.map((block) => block * pagesPerBlock);
}

/** All pages of a segment in its order. */
export function pagesOf(segment: HeldSegment, { pagesPerBlock }: BlockShape): readonly number[] {
  if (segment.kind === 'stored') return segment.pages;
  return segment.blocks.flatMap((block) =>
    Array.from({ length: pagesPerBlock }, (_, page) => block * pagesPerBlock + page),
  );
}

export function pageCount(segment: HeldSegment, { pagesPerBlock }: BlockShape): number {
  return segment.kind === 'stored' ? segment.pages.length : segment.blocks.length * pagesPerBlock;
}

/** Blocks of a segment that are the cache's. */
export function cachedBlocks(segment: HeldSegment | undefined): number {
  return segment?.kind === 'raw' ? segment.cached : 0;
}

/** Raw rows cut in two at a block's edge; the first one keeps `blocks` blocks. */
export function cut(whole: HeldRaw, blocks: number, { blockTokens }: BlockShape): [HeldRaw, HeldRaw] {
  const tokens = blocks * blockTokens;
  const cached = Math.min(whole.cached, blocks);
  return [
    { ...whole, blocks: whole.blocks.slice(0, blocks), tokens, cached },
    {
      ...whole,
      start: whole.start + tokens,
      blocks: whole.blocks.slice(blocks),
      tokens: whole.tokens - tokens,
      cached: whole.cached - cached,
    },
  ];
}

/** The block that a sequence copies to go on in. */
export function blockOf(content: CachedContent): number {
  if (content.kind !== 'text') throw new Error('only a block of text is gone on in');
  return content.block;
}
