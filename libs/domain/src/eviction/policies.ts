import { Gdsf } from './gdsf/gdsf.js';
import { GreedyDualSize } from './greedy-dual-size/greedy-dual-size.js';
import { HitDensity } from './hit-density/hit-density.js';
import { Lfu } from './lfu/lfu.js';
import { Lru } from './lru/lru.js';
import type { Evictable, EvictionPolicy } from './policy.js';
import type { RebuildCost } from './rebuild-costs.js';
import { S3Fifo } from './s3-fifo/s3-fifo.js';

/** Every policy, by its name; those that weigh what content costs are told how to. */
export const EVICTION_POLICIES = {
  'hit-density': <T extends Evictable>(costOf: RebuildCost): EvictionPolicy<T> => new HitDensity<T>(costOf),
  'greedy-dual-size': <T extends Evictable>(costOf: RebuildCost): EvictionPolicy<T> =>
    new GreedyDualSize<T>(costOf),
  lru: <T extends Evictable>(): EvictionPolicy<T> => new Lru<T>(),
  lfu: <T extends Evictable>(): EvictionPolicy<T> => new Lfu<T>(),
  's3-fifo': <T extends Evictable>(): EvictionPolicy<T> => new S3Fifo<T>(),
  gdsf: <T extends Evictable>(costOf: RebuildCost): EvictionPolicy<T> => new Gdsf<T>(costOf),
} as const;

export type EvictionPolicyName = keyof typeof EVICTION_POLICIES;

/** What a worker evicts by. */
export const DEFAULT_EVICTION_POLICY: EvictionPolicyName = 'hit-density';
