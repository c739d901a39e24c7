import type { RateProfile, Spacing } from '../arrivals/index.js';

/** Who decides when the next request comes. */
export type LoadShape =
  /** A clock: requests come whatever has become of those before. */
  | { readonly kind: 'open'; readonly profile: RateProfile; readonly spacing: Spacing }
  /** As many callers, each of which asks again as soon as it is answered. */
  | { readonly kind: 'closed'; readonly concurrency: number }
  /** The times of a trace. */
  | { readonly kind: 'trace' };

/** This process's part of a load. */
export interface Shard {
  readonly index: number;
  readonly of: number;
}

export interface RunPlan {
  readonly shape: LoadShape;
  readonly seed: number;
  readonly shard: Shard;
  /** Conversations that count, over all processes; absent: as many as the time holds. */
  readonly requests?: number;
  /** After the warm-up; absent: until there are no more. */
  readonly durationMs?: number;
  readonly warmUpMs: number;
  /** How long open requests are waited for when all are sent. */
  readonly drainMs: number;
  /** Before a caller writes its next turn. */
  readonly thinkMs: number;
  /** Open requests beyond this are not sent and count as errors: memory and sockets are bounded. */
  readonly mostOpen: number;
}
