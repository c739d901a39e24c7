/** The most of all pages that is kept free. */
const MOST_SHARE = 1 / 50;

/** Room that requests leave free for those of tenants that use little of their share. */
export interface Headroom {
  /** So many requests find room at once. */
  readonly requests: number;
  /** KV pages of one. */
  readonly pages: number;
}

/** What a request may take when it is its turn. */
export interface Turn {
  /** What it has to leave free for others. */
  readonly headroom: Headroom;
  /** No other of its tenant, for its model, was let in and has not ended. */
  readonly isGuest: boolean;
}

export const NO_HEADROOM: Headroom = { requests: 0, pages: 0 };

/** Where there may be room: a worker's pages. */
export interface Pool {
  readonly record: { readonly capacityPages: number };
  /** Those that are free. */
  readonly roomPages: number;
}

/**
 * Whether `pages` taken from a pool leave the headroom, anywhere among the pools. Where that is more than a fiftieth of
 * all pages it is cut to whole requests below that, to none in a small cluster; and a request beside which its pool
 * never has as much room need not leave it.
 */
export function leavesHeadroom(
  pools: readonly Pool[],
  from: Pool,
  pages: number,
  headroom: Headroom,
): boolean {
  if (headroom.requests === 0) return true;
  const each = Math.max(1, headroom.pages);
  const all = pools.reduce((sum, { record }) => sum + record.capacityPages, 0);
  const requests = Math.min(headroom.requests, Math.floor((MOST_SHARE * all) / each));
  if (requests === 0 || from.record.capacityPages - pages < requests * each) return true;
  let rooms = 0;
  for (const pool of pools) {
    const free = pool === from ? pool.roomPages - pages : pool.roomPages;
    rooms += Math.floor(Math.max(0, free) / each);
    if (rooms >= requests) return true;
  }
  return false;
}
