import { type BlockShape, rawBlocks } from '../../paging/index.js';
import type { StoredSpan } from '../step.js';
import { type HeldSegment, pageCount } from './held.js';
import type { TailRoom } from './page-source.js';
import type { Progress } from './progress.js';
import { StoredBlocks, type Span } from './spans.js';

/** Where the counting of rows begins. */
export interface Place {
  readonly from: number;
  /** A complete raw span before it that waits for its compression. */
  readonly pending: Span | undefined;
  /** Blocks of that span that others use too: they are not given back. */
  readonly shared: number;
}

/**
 * Blocks that the next `rows` rows take beyond those held, at their worst moment; all rows that are missing, with the
 * compressions between them, when `rows` is infinite.
 */
export function blocksForRows(progress: Progress, source: TailRoom, rows: number, place: Place): number {
  const { shape, totalTokens } = progress;
  const stored = new StoredBlocks(source, shape);
  let raw = 0;
  let peak = 0;
  let at = place.from;
  let left = Math.min(rows, totalTokens - at);
  let { pending, shared } = place;
  while (left > 0) {
    if (pending?.stored) {
      if (at > place.from && rows !== Infinity) break;
      stored.add(pending.stored.pages);
      raw += rawBlocks(pending.restRows.length, shape);
      peak = Math.max(peak, raw + stored.blocks);
      raw -= rawBlocks(pending.end - pending.start, shape) - shared;
      shared = 0;
      pending = undefined;
    }
    const span = progress.spanAt(at);
    const taken = Math.min(left, span.end - at);
    raw += rawBlocks(at - span.start + taken, shape) - rawBlocks(at - span.start, shape);
    peak = Math.max(peak, raw + stored.blocks);
    at += taken;
    left -= taken;
    if (at === span.end) pending = span;
  }
  return peak;
}

/** Blocks that pages of a table take when they come back. */
export function blocksToRestore(held: readonly HeldSegment[], source: TailRoom, shape: BlockShape): number {
  const stored = new StoredBlocks(source, shape);
  let raw = 0;
  for (const each of held) {
    if (each.kind === 'raw') raw += each.blocks.length;
    else stored.add(each.pages.length);
  }
  return raw + stored.blocks;
}

/** The same where no tail finds room beside another. */
export function blocksToRestoreApart(held: readonly HeldSegment[], shape: BlockShape): number {
  return held.reduce((sum, each) => sum + Math.ceil(pageCount(each, shape) / shape.pagesPerBlock), 0);
}

/** Blocks that one stored span takes, with the raw rows beside it. */
export function storedBlocks(
  source: TailRoom,
  { pages }: StoredSpan,
  restRows: number,
  shape: BlockShape,
): number {
  const stored = new StoredBlocks(source, shape);
  stored.add(pages);
  return stored.blocks + rawBlocks(restRows, shape);
}
