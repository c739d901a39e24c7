export interface LeaseKey {
  readonly workerId: string;
  readonly epoch: number;
  /** Unique per request, chosen by the router. */
  readonly leaseId: string;
}

/** A router process as the registry knows it: the epoch fences an earlier process, or an earlier life, of the same id. */
export interface RouterIdentity {
  readonly routerId: string;
  readonly epoch: number;
}

/** In whose name a ledger reserves. */
export interface ReservingRouter {
  /** Calls with the router's identity, and once more with a newer one where that is refused as `STALE_ROUTER`. */
  run<T>(reserve: (as: RouterIdentity) => Promise<T>): Promise<T>;
}

/** A reserved lease that is not committed within its time is dropped. */
export const LEASE_TTL_MS = 10_000;

/**
 * How long a lease that was given back is remembered: longer than a connection that has died keeps what was written
 * to it, which Linux sends again for some 100 s.
 */
export const RELEASED_TTL_MS = 5 * 60_000;
/** And how many of one worker at most, the latest: 30 a second for all of that time, about a mebibyte in Redis. */
export const MOST_RELEASED = 10_000;

export interface LedgerAccount {
  readonly workerId: string;
  readonly epoch: number;
  readonly capacityPages: number;
  /** Pages of reserved leases, not committed yet. */
  readonly reservedPages: number;
  readonly committedPages: number;
  readonly leases: number;
}

/**
 * Who may hold how many pages of which worker; `WorkerLedger` states the rules.
 * Rejections: `NO_CAPACITY` (would pass the capacity), `STALE_EPOCH`, `NO_WORKER` (not registered), `STALE_ROUTER` (the
 * router that reserves was taken for dead, or has a successor), `ABORTED` (the lease was given back, and the call comes
 * late: nobody would give it back again),
 * `LEDGER_UNAVAILABLE` (the store does not answer in time; the verb may have been carried out).
 */
export interface LedgerPort {
  /** Router: sets pages aside until the deadline. The same lease again renews it. */
  reserve(key: LeaseKey, pages: number, ttlMs?: number): Promise<void>;
  /** Worker: takes the lease over; from here on it lives as long as the epoch. Sets its pages. */
  commit(key: LeaseKey, pages: number): Promise<void>;
  /** Worker: sets the pages of a committed lease, up or down. `INTERNAL` for one that is not committed. */
  extend(key: LeaseKey, pages: number): Promise<void>;
  /** Either side: gives everything back, for good. An unknown lease is no error, and does not come any more either. */
  release(key: LeaseKey): Promise<void>;
  /** For inspection: what is held in one instant; undefined when the worker is not registered. */
  account(workerId: string): Promise<LedgerAccount | undefined>;
}
