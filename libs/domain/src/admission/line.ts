import type { Ask, Eviction } from './ask.js';
import type { Headroom } from './headroom.js';
import type { TenantAccount } from './tenant-account.js';
import { AnswerLengths } from './work.js';

/** One request that waits or tries. */
export interface Entry {
  readonly id: number;
  readonly ask: Ask;
  readonly line: Line;
  /** Entries of a line go in this order: the time of arrival, later by what a low priority costs. */
  readonly orderMs: number;
  /** Whichever comes first: the longest wait or the request's own deadline. */
  readonly leaveByMs: number;
  readonly cause: Eviction;
  isTrying: boolean;
  /** Wakes there had been when it last tried; as many as now: nothing has changed since. -1: never. */
  triedAt: number;
  /** What it has to leave free for others, as of its last try. */
  headroom: Headroom;
  /** No other of its line ran or tried when it began to try: there may be room for it where there is none for others. */
  isGuest: boolean;
  /** What its line had been served when it began to try. */
  servedBefore: number;
  /** Work of requests that were let in although it was its line's turn. */
  passedWork: number;
  /** Others have waited for it once. */
  hasHeld: boolean;
}

/** The requests of one tenant for one model. */
export class Line {
  /** Work served, over the tenant's weight. */
  served = 0;
  bytes = 0;
  /** Those that were let in and have not ended. */
  running = 0;
  /** Those that try. */
  trying = 0;
  readonly answers = new AnswerLengths();
  readonly #entries: Entry[] = [];

  constructor(readonly account: TenantAccount) {}

  get size(): number {
    return this.#entries.length;
  }

  get weight(): number {
    return this.account.terms.weight;
  }

  /** Whether none of its requests runs or tries. */
  get isIdle(): boolean {
    return this.running <= 0 && this.trying === 0;
  }

  get head(): Entry | undefined {
    return this.#entries[0];
  }

  insert(entry: Entry): void {
    this.#entries.splice(this.ahead(entry.orderMs), 0, entry);
    this.bytes += entry.ask.bytes;
  }

  remove(entry: Entry): void {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    this.bytes -= entry.ask.bytes;
  }

  /** Entries that go before one of that order. */
  ahead(orderMs: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#entries[middle]?.orderMs ?? Infinity) <= orderMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The foremost that does not try yet; undefined where one before it found no room, or has no room by its cap. */
  candidate(wakes: number, nowMs: number): Entry | undefined {
    for (const entry of this.#entries) {
      if (entry.isTrying || entry.leaveByMs <= nowMs) continue;
      return entry.triedAt === wakes || !this.account.hasRoomFor(entry.ask.pages) ? undefined : entry;
    }
    return undefined;
  }

  /** Those that could be shed, the lowest in priority and newest first. */
  *fromTheEnd(): Iterable<Entry> {
    for (let at = this.#entries.length - 1; at >= 0; at -= 1) {
      const entry = this.#entries[at];
      if (entry && !entry.isTrying) yield entry;
    }
  }

  /** Counts an entry's work, or takes it back with -1. */
  charge({ ask }: Entry, sign: 1 | -1): void {
    if (!ask.isCharged) this.served += (sign * ask.work) / this.weight;
    if (sign > 0) this.account.hold(ask.pages);
    else this.account.release(ask.pages);
  }
}
