import type { CacheEntry } from '../../paging/index.js';
import type { PageChange, StepChunk } from '../step.js';

/** What one sequence does in one step. */
export interface SequenceWork {
  readonly changes: PageChange[];
  readonly chunks: StepChunk[];
  rows: number;
  /** The last row's next token is wanted. */
  samples: boolean;
}

/** What a sequence gives back: runs of pages, and entries of the cache. */
export interface GivenBack {
  readonly runs: readonly number[];
  readonly entries: readonly CacheEntry[];
}

/** Of a sequence that `takeChanged` has not named yet. */
export const UNREPORTED = { pages: -1, prefilling: false };
