import type { EvictionReason } from '../paging/index.js';

/** The rungs of the ladder, in the order in which they are tried. */
export const RUNG_NAMES = ['evict', 'recompress_pictures', 'swap', 'recompress_text', 'preempt'] as const;
export type RungName = (typeof RUNG_NAMES)[number];

export interface SequencePages {
  /** A run that n sequences share counts as its pages over n, so that all sequences together hold what is held. */
  readonly held: number;
  /** The most it holds at one time until its newest token is there. */
  readonly peak: number;
  /** Tokens whose keys and values the held pages keep. */
  readonly tokens: number;
  /** More than its newest token is still to be computed. */
  readonly prefilling: boolean;
  /** It is not waiting. */
  readonly running: boolean;
}

/** The pool as others see it: what only the prefix cache holds is free. `freePages + heldPages = capacityPages`. */
export interface PoolAccount {
  readonly capacityPages: number;
  readonly freePages: number;
  readonly heldPages: number;
  /** Of the free pages: those that hold cached content. */
  readonly cachedPages: number;
}

/** What has happened so far. */
export interface SchedulerCounters {
  readonly evictedPages: number;
  readonly evictions: Readonly<Record<EvictionReason, number>>;
  /** How often something was done on each rung of the ladder. */
  readonly rungs: Readonly<Record<RungName, number>>;
  /** Pictures of prompts at the first admission of their request. */
  readonly pictures: number;
  /** Those whose keys and values the prefix cache held, by the number of their format; raw ones under `undefined`. */
  readonly pictureHits: ReadonlyMap<number | undefined, number>;
  readonly recompressions: number;
  /** Runs of text. */
  readonly textRecompressions: number;
  readonly swapsOut: number;
  readonly swapsIn: number;
  readonly preemptions: number;
  /** Tokens that were computed before a preemption and that the cache did not hold when their request came back. */
  readonly recomputedTokens: number;
  /** Tokens that requests brought to their first admission, and those of them that the prefix cache held. */
  readonly prefixTokens: number;
  readonly prefixHitTokens: number;
}
