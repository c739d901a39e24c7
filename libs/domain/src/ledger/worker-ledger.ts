import { HEARTBEAT_TTL_MS, type Registrant } from '../registry/index.js';
import { type LedgerAccount, MOST_RELEASED, RELEASED_TTL_MS } from './ledger.port.js';
import type { LedgerRefusal } from './refusals.js';

/** An epoch outlives its worker by so much, so that a successor gets a higher one and what is older stays fenced. */
export const EPOCH_TTL_MS = 24 * 60 * 60 * 1_000;

interface Lease {
  readonly pages: number;
  /** When a reserved lease is dropped; undefined for a committed one. */
  readonly deadlineMs: number | undefined;
}

interface Tenure {
  readonly epoch: number;
  readonly instanceId: string;
  endsMs: number;
}

/**
 * The rules of one worker's registration and leases, with the time as an argument. The sum of leases never passes
 * the capacity, no lease outlives its epoch, what an older epoch writes is refused, and every verb may be sent
 * twice. The scripts in Redis do the same.
 */
export class WorkerLedger {
  #tenure: Tenure | undefined;
  #recordEndsMs = -Infinity;
  #capacityPages = 0;
  readonly #leases = new Map<string, Lease>();
  /** When it is forgotten that a lease was given back; in the order of that. */
  readonly #released = new Map<string, number>();

  /**
   * Begins a new epoch with no leases: the time, or one more than the last epoch where that is larger. The process
   * whose record lives has only missed the answer and gets the same epoch. `STALE_EPOCH` when another process has
   * registered since the epoch that this one holds.
   */
  register(by: Registrant, capacityPages: number, nowMs: number): number | LedgerRefusal {
    const known = this.#known(nowMs);
    const own = known?.instanceId === by.instanceId;
    if (known && own && this.isAlive(nowMs)) {
      this.#renew(known, nowMs);
      return known.epoch;
    }
    if (known && !own && by.heldEpoch > 0 && known.epoch > by.heldEpoch) return 'STALE_EPOCH';
    const epoch = Math.max((known?.epoch ?? 0) + 1, nowMs);
    this.#tenure = { epoch, instanceId: by.instanceId, endsMs: 0 };
    this.#renew(this.#tenure, nowMs);
    this.#capacityPages = capacityPages;
    this.#forget();
    return epoch;
  }

  heartbeat(epoch: number, nowMs: number): LedgerRefusal | undefined {
    const refusal = this.#refusal(epoch, nowMs);
    if (refusal || !this.#tenure) return refusal;
    this.#renew(this.#tenure, nowMs);
    this.#dropExpired(nowMs);
    return undefined;
  }

  /** Ends the record and its leases; the epoch stays. `STALE_EPOCH` when another process has registered. */
  deregister(epoch: number, nowMs: number): LedgerRefusal | undefined {
    const known = this.#known(nowMs);
    if (known && known.epoch !== epoch) return 'STALE_EPOCH';
    this.#recordEndsMs = -Infinity;
    this.#forget();
    return undefined;
  }

  isAlive(nowMs: number): boolean {
    return nowMs < this.#recordEndsMs;
  }

  /**
   * A lease that is committed already stays as it is: the call is then a late double. `RELEASED` for one that was
   * given back.
   */
  reserve(epoch: number, leaseId: string, pages: number, ttlMs: number, nowMs: number) {
    const refusal = this.#refusal(epoch, nowMs) ?? this.#lateness(leaseId, nowMs);
    if (refusal || this.#isCommitted(leaseId)) return refusal;
    this.#dropExpired(nowMs);
    return this.#set(leaseId, { pages, deadlineMs: nowMs + ttlMs });
  }

  /** A lease that is unknown, since it has expired or was lost with the store, is made; `RELEASED` for one given back. */
  commit(epoch: number, leaseId: string, pages: number, nowMs: number): LedgerRefusal | undefined {
    const refusal = this.#refusal(epoch, nowMs) ?? this.#lateness(leaseId, nowMs);
    if (refusal) return refusal;
    this.#dropExpired(nowMs);
    return this.#set(leaseId, { pages, deadlineMs: undefined });
  }

  /** `NOT_COMMITTED` unless the lease is, so that a late call cannot bring a released lease back. */
  extend(epoch: number, leaseId: string, pages: number, nowMs: number): LedgerRefusal | undefined {
    const refusal = this.#refusal(epoch, nowMs);
    if (refusal) return refusal;
    if (!this.#isCommitted(leaseId)) return 'NOT_COMMITTED';
    this.#dropExpired(nowMs);
    return this.#set(leaseId, { pages, deadlineMs: undefined });
  }

  /**
   * For good: what a broken connection delivers later is refused. The leases of an older epoch went with it, so that
   * its release has nothing to do.
   */
  release(epoch: number, leaseId: string, nowMs: number): void {
    if (this.#refusal(epoch, nowMs)) return;
    this.#leases.delete(leaseId);
    this.#released.delete(leaseId);
    this.#released.set(leaseId, nowMs + RELEASED_TTL_MS);
    for (const [oldest, untilMs] of this.#released) {
      if (untilMs > nowMs && this.#released.size <= MOST_RELEASED) break;
      this.#released.delete(oldest);
    }
  }

  account(nowMs: number): Omit<LedgerAccount, 'workerId'> | undefined {
    if (!this.#tenure || !this.isAlive(nowMs)) return undefined;
    return {
      epoch: this.#tenure.epoch,
      capacityPages: this.#capacityPages,
      reservedPages: this.#pages(({ deadlineMs }) => deadlineMs !== undefined),
      committedPages: this.#pages(({ deadlineMs }) => deadlineMs === undefined),
      leases: this.#leases.size,
    };
  }

  /** Id, pages and state of each lease. */
  *leases(): Iterable<{ readonly leaseId: string; readonly pages: number; readonly committed: boolean }> {
    for (const [leaseId, { pages, deadlineMs }] of this.#leases)
      yield { leaseId, pages, committed: deadlineMs === undefined };
  }

  #forget(): void {
    this.#leases.clear();
    this.#released.clear();
  }

  #lateness(leaseId: string, nowMs: number): LedgerRefusal | undefined {
    return (this.#released.get(leaseId) ?? nowMs) > nowMs ? 'RELEASED' : undefined;
  }

  #known(nowMs: number): Tenure | undefined {
    return this.#tenure && nowMs < this.#tenure.endsMs ? this.#tenure : undefined;
  }

  #renew(tenure: Tenure, nowMs: number): void {
    tenure.endsMs = nowMs + EPOCH_TTL_MS;
    this.#recordEndsMs = nowMs + HEARTBEAT_TTL_MS;
  }

  #refusal(epoch: number, nowMs: number): LedgerRefusal | undefined {
    const known = this.#known(nowMs);
    if (known && known.epoch !== epoch) return 'STALE_EPOCH';
    return known && this.isAlive(nowMs) ? undefined : 'NO_WORKER';
  }

  #isCommitted(leaseId: string): boolean {
    const lease = this.#leases.get(leaseId);
    return lease !== undefined && lease.deadlineMs === undefined;
  }

  #dropExpired(nowMs: number): void {
    for (const [leaseId, { deadlineMs = Infinity }] of this.#leases)
      if (deadlineMs <= nowMs) this.#leases.delete(leaseId);
  }

  /** Growth must fit; what shrinks or stays always does, since the sum is in bounds before. */
  #set(leaseId: string, lease: Lease): LedgerRefusal | undefined {
    const growth = lease.pages - (this.#leases.get(leaseId)?.pages ?? 0);
    if (this.#pages(() => true) + growth > this.#capacityPages) return 'NO_CAPACITY';
    this.#leases.set(leaseId, lease);
    return undefined;
  }

  #pages(counts: (lease: Lease) => boolean): number {
    return [...this.#leases.values()].filter(counts).reduce((sum, { pages }) => sum + pages, 0);
  }
}
