import type { LedgerRefusal } from '../ledger/refusals.js';
import { type RouterRegistrant, ROUTER_TTL_MS, ROUTER_REMEMBERED_MS } from './registry.port.js';

interface Entry {
  readonly epoch: number;
  readonly instanceId: string;
  readonly renewedMs: number;
  readonly address: string | undefined;
}

/**
 * The rules by which routers are registered, with the store's time as an argument. An epoch is the time of its
 * registration, or one more than the last where that is larger. The scripts in Redis do the same.
 */
export class RouterRoll {
  readonly #entries = new Map<string, Entry>();

  /**
   * Registers a router, or renews its record: the process whose record lives keeps its epoch, unless a ledger has
   * refused that. `STALE_ROUTER` when another process has registered since the epoch that this one holds.
   */
  register(routerId: string, by: RouterRegistrant, nowMs: number): number | LedgerRefusal {
    this.#prune(nowMs);
    const { instanceId, heldEpoch, refusedEpoch } = by;
    const known = this.#entries.get(routerId);
    const isSame = known?.instanceId === instanceId;
    if (known && !isSame && heldEpoch > 0 && known.epoch > heldEpoch) return 'STALE_ROUTER';
    const keeps = known && isSame && isLiving(known, nowMs) && known.epoch > refusedEpoch;
    const epoch = keeps
      ? known.epoch
      : Math.max((known?.epoch ?? 0) + 1, heldEpoch + 1, refusedEpoch + 1, nowMs);
    this.#entries.set(routerId, { epoch, instanceId, renewedMs: nowMs, address: by.address });
    return epoch;
  }

  deregister(routerId: string, epoch: number): void {
    if (this.#entries.get(routerId)?.epoch === epoch) this.#entries.delete(routerId);
  }

  /** Whether its record has run out, or another process has taken it over. */
  isAbsent(routerId: string, epoch: number, nowMs: number): boolean {
    const entry = this.#entries.get(routerId);
    return entry?.epoch !== epoch || !isLiving(entry, nowMs);
  }

  /** How many there are whose records live. */
  living(nowMs: number): number {
    return [...this.#entries.values()].filter((entry) => isLiving(entry, nowMs)).length;
  }

  /** Those of them that have told theirs. */
  addresses(nowMs: number): string[] {
    const living = [...this.#entries.values()].filter((entry) => isLiving(entry, nowMs));
    return living.flatMap(({ address }) => address ?? []);
  }

  #prune(nowMs: number): void {
    for (const [routerId, { renewedMs }] of this.#entries)
      if (renewedMs + ROUTER_TTL_MS + ROUTER_REMEMBERED_MS <= nowMs) this.#entries.delete(routerId);
  }
}

const isLiving = ({ renewedMs }: Entry, nowMs: number): boolean => nowMs < renewedMs + ROUTER_TTL_MS;
