import type { Evictable } from '../policy.js';

/** Whose requests have left content. */
export interface ContentOwner {
  readonly tenant: string;
  /** Of its share of the pool beside others': more than 0. The newest of a tenant's content tells it. */
  readonly weight: number;
}

/** Content that somebody's requests have left. */
export interface Owned extends Evictable, ContentOwner {}
