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

/** Of a sequence whose pages nobody has been told. */
export const UNTOLD = { pages: -1, prefilling: false };
