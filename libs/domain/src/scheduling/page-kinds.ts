import type { BlockShape, PagePool } from '../paging/index.js';
import type { SegmentPages } from './holdings.js';

/** What a page may hold, in the order of their numbers in `PageKinds`. */
export const PAGE_KINDS = ['free', 'raw', 'capsule', 'cached'] as const;
export type PageKind = (typeof PAGE_KINDS)[number];

/** For each page of a pool the number of its kind. */
export type PageKinds = Uint8Array;

/** So many pages of one kind, one behind the other. */
export interface PageRun {
  readonly kind: PageKind;
  readonly pages: number;
}

const RAW = PAGE_KINDS.indexOf('raw');
const CAPSULE = PAGE_KINDS.indexOf('capsule');
const CACHED = PAGE_KINDS.indexOf('cached');

/**
 * @param idleRuns first pages of runs that nothing but idle content of the cache holds
 * @param segments what requests hold; a page that several of them share is told once
 */
export function pageKindsOf(
  pool: PagePool,
  idleRuns: Iterable<number>,
  segments: Iterable<SegmentPages>,
  { pagesPerBlock }: BlockShape,
): PageKinds {
  const kinds = new Uint8Array(pool.capacityPages);
  for (const run of idleRuns) kinds.fill(CACHED, run, run + pool.pagesOf(run));
  for (const segment of segments) {
    if (segment.kind === 'stored') for (const page of segment.pages) kinds[page] = CAPSULE;
    else
      for (const block of segment.blocks) kinds.fill(RAW, block * pagesPerBlock, (block + 1) * pagesPerBlock);
  }
  return kinds;
}

/** The same as runs of one kind, at most so many of them: what lies behind is left out. */
export function pageRunsOf(kinds: PageKinds, most: number): PageRun[] {
  const runs: PageRun[] = [];
  let from = 0;
  while (from < kinds.length && runs.length < most) {
    let end = from + 1;
    while (end < kinds.length && kinds[end] === kinds[from]) end += 1;
    runs.push({ kind: PAGE_KINDS[kinds[from] ?? 0] ?? 'free', pages: end - from });
    from = end;
  }
  return runs;
}
