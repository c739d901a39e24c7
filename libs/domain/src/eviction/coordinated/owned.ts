import type { Evictable } from '../policy.js';

/** Content that somebody's requests have left. */
export interface Owned extends Evictable {
  readonly tenant: string;
}
