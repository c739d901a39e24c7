import { HEARTBEAT_TTL_MS, type Registrant } from '../registry/index.js';
import { type LedgerAccount, MOST_RELEASED, RELEASED_TTL_MS, type RouterIdentity } from './ledger.port.js';
import type { LedgerRefusal } from './refusals.js';

/** An epoch outlives its worker by so much, so that a successor gets a higher one and what is older stays fenced. */
export const EPOCH_TTL_MS = 24 * 60 * 60 * 1_000;

interface Lease {
  readonly pages: number;
  /** When a reserved lease is dropped; undefined for a committed one. */
  readonly deadlineMs: number | undefined;
  /** That reserved it. */
  readonly router: RouterIdentity | undefined;
}

/** Of a router: what earlier epochs reserve is refused until then. */
interface Fence {
  readonly epoch: number;
  readonly untilMs: number;
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
  readonly #fences = new Map<string, Fence>();

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
   * given back. In the name of a router, whose first reservation with a new epoch ends those of earlier ones here;
   * `STALE_ROUTER` where it has a later epoch, or was fenced.
   */
  reserve(
    epoch: number,
    leaseId: string,
    pages: number,
    ttlMs: number,
    nowMs: number,
    router?: RouterIdentity,
  ): LedgerRefusal | undefined {
    const refusal =
      this.#refusal(epoch, nowMs) ?? this.#staleness(router, nowMs) ?? this.#lateness(leaseId, nowMs);
    if (refusal || this.#isCommitted(leaseId)) return refusal;
    this.#dropExpired(nowMs);
    if (router && this.#leastEpoch(router.routerId, nowMs) !== router.epoch)
      this.#fence(router.routerId, router.epoch, nowMs);
    return this.#set(leaseId, { pages, deadlineMs: nowMs + ttlMs, router });
  }

  /**
   * These routers have gone: refuses them from here on, and drops what they have reserved. A lease that is committed
   * stays: its request runs on the worker.
   */
  fence(epoch: number, routers: readonly RouterIdentity[], nowMs: number): LedgerRefusal | undefined {
    const refusal = this.#refusal(epoch, nowMs);
    if (refusal) return refusal;
    for (const router of routers)
      if (router.epoch + 1 > (this.#leastEpoch(router.routerId, nowMs) ?? 0))
        this.#fence(router.routerId, router.epoch + 1, nowMs);
    return undefined;
  }

  /** Who has reserved pages that are not committed. */
  reservers(): readonly RouterIdentity[] {
    const all = [...this.#leases.values()].flatMap(({ router, deadlineMs }) =>
      router && deadlineMs !== undefined ? [router] : [],
    );
    return [...new Map(all.map((router) => [`${router.routerId} ${router.epoch}`, router])).values()];
  }

  /** A lease that is unknown, since it has expired or was lost with the store, is made; `RELEASED` for one given back. */
  commit(epoch: number, leaseId: string, pages: number, nowMs: number): LedgerRefusal | undefined {
    const refusal = this.#refusal(epoch, nowMs) ?? this.#lateness(leaseId, nowMs);
    if (refusal) return refusal;
    // of a late one, too, the router is known
    const lease = this.#committed(leaseId, pages);
    this.#dropExpired(nowMs);
    return this.#set(leaseId, lease);
  }

  /** `NOT_COMMITTED` unless the lease is, so that a late call cannot bring a released lease back. */
  extend(epoch: number, leaseId: string, pages: number, nowMs: number): LedgerRefusal | undefined {
    const refusal = this.#refusal(epoch, nowMs);
    if (refusal) return refusal;
    if (!this.#isCommitted(leaseId)) return 'NOT_COMMITTED';
    this.#dropExpired(nowMs);
    return this.#set(leaseId, this.#committed(leaseId, pages));
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

  /** Id, pages and state of each lease, and the router that reserved it. */
  *leases(): Iterable<{
    readonly leaseId: string;
    readonly pages: number;
    readonly committed: boolean;
    readonly router: RouterIdentity | undefined;
  }> {
    for (const [leaseId, { pages, deadlineMs, router }] of this.#leases)
      yield { leaseId, pages, committed: deadlineMs === undefined, router };
  }

  #forget(): void {
    this.#leases.clear();
    this.#released.clear();
    this.#fences.clear();
  }

  #lateness(leaseId: string, nowMs: number): LedgerRefusal | undefined {
    return (this.#released.get(leaseId) ?? nowMs) > nowMs ? 'RELEASED' : undefined;
  }

  #staleness(router: RouterIdentity | undefined, nowMs: number): LedgerRefusal | undefined {
    const least = router && this.#leastEpoch(router.routerId, nowMs);
    return least !== undefined && router && router.epoch < least ? 'STALE_ROUTER' : undefined;
  }

  #leastEpoch(routerId: string, nowMs: number): number | undefined {
    const fence = this.#fences.get(routerId);
    return fence && fence.untilMs > nowMs ? fence.epoch : undefined;
  }

  #fence(routerId: string, leastEpoch: number, nowMs: number): void {
    for (const [leaseId, { router, deadlineMs }] of this.#leases)
      if (deadlineMs !== undefined && router?.routerId === routerId && router.epoch < leastEpoch)
        this.#leases.delete(leaseId);
    this.#fences.set(routerId, { epoch: leastEpoch, untilMs: nowMs + RELEASED_TTL_MS });
  }

  #committed(leaseId: string, pages: number): Lease {
    return { pages, deadlineMs: undefined, router: this.#leases.get(leaseId)?.router };
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
