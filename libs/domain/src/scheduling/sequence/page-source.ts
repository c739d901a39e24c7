import type { CacheEntry } from '../../paging/index.js';

/** Where a sequence gets its pages. The caller of `advance` has made sure that they are there. */
export interface PageSource {
  takeBlocks(count: number): number[];
  takePages(pages: number): number[];
  release(runs: readonly number[]): void;
  /** Whether a stored span's tail would begin a block of its own. */
  tailTakesBlock(pages: number): boolean;
  /** Whether nobody else uses a run of pages; the cache's own hold on it does not count. */
  ownedAlone(run: number): boolean;
  /** Entries of the cache that are used no more. */
  leave(entries: readonly CacheEntry[]): void;
}

export type TailRoom = Pick<PageSource, 'tailTakesBlock'>;

/** For the least that may be needed: every tail finds room beside others. */
export const FINDS_ROOM: TailRoom = { tailTakesBlock: () => false };
