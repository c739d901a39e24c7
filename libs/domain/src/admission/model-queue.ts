import type { Ask } from './ask.js';
import { HeadroomMeter } from './headroom-meter.js';
import { type Entry, Line } from './line.js';
import { RateMeter } from './rate-meter.js';
import type { TenantAccounts } from './tenant-account.js';

/** Tries of one model at a time, while all of them find room. */
const MOST_TRIES = 64;
/** After so many tries that found no room since the last wake, only smaller requests try. */
const FRUITLESS_TRIES = 8;
/** Tries that found no room since the last wake. */
class Fruitless {
  #wakes = 0;
  #tries = 0;
  #leastWork = Infinity;

  add(work: number, wakes: number): void {
    if (this.#wakes !== wakes) [this.#wakes, this.#tries, this.#leastWork] = [wakes, 0, Infinity];
    this.#tries += 1;
    this.#leastWork = Math.min(this.#leastWork, work);
  }

  /** Whether one of that work would hardly find any. */
  has(work: number, wakes: number): boolean {
    return this.#wakes === wakes && this.#tries >= FRUITLESS_TRIES && work >= this.#leastWork;
  }
}

/** How long others of the model wait at most for one that they have been let in before too often. */
const HOLD_MS = 10_000;

/**
 * Requests for one model, a line a tenant. The line that was served least in proportion to its weight goes first
 * (virtual token counters); one that comes back is lifted to the least of those that wait, so idling saves up nothing.
 */
export class ModelQueue {
  readonly #lines = new Map<string, Line>();
  /** Lines with entries. */
  readonly #active = new Set<Line>();
  /** The one that has become empty last. */
  #last: Line | undefined;
  readonly #drain = new RateMeter();
  /** Grows by one with each that gets in and falls to one when one finds no room: few try in vain after a wake. */
  #window = MOST_TRIES;
  #trying = 0;
  readonly #fruitless = new Fruitless();
  /** Of the first requests of lines of which none runs. */
  readonly #guests = new Fruitless();
  /** Of those that had to leave room for others, which says nothing of those others. */
  readonly #heldBack = new Fruitless();
  readonly #headroom = new HeadroomMeter();
  #hold: { readonly entry: Entry; readonly untilMs: number } | undefined;
  size = 0;

  constructor(private readonly accounts: TenantAccounts) {}

  line(tenant: string): Line {
    let line = this.#lines.get(tenant);
    if (!line) {
      line = new Line(this.accounts.of(tenant));
      this.#lines.set(tenant, line);
    }
    return line;
  }

  get lines(): Iterable<Line> {
    return this.#active;
  }

  insert(entry: Entry): void {
    const { line } = entry;
    if (line.size === 0) this.#activate(line);
    line.insert(entry);
    this.size += 1;
  }

  /** Takes an entry out, let in or not. */
  remove(entry: Entry, nowMs: number): void {
    const { line } = entry;
    if (entry.isTrying) this.#tries(line, -1);
    if (this.#hold?.entry === entry) this.#hold = undefined;
    line.remove(entry);
    this.size -= 1;
    if (line.size > 0) return;
    this.#active.delete(line);
    this.#last = line;
    if (this.size === 0) this.#drain.stop(nowMs);
  }

  /** Who tries next: of the lines that may, the one served least. */
  next(nowMs: number, wakes: number): Entry | undefined {
    if (this.#trying >= this.#window) return undefined;
    const hold = this.#holder(nowMs);
    let first: Entry | undefined;
    for (const line of this.#active) {
      const entry = line.candidate(wakes, nowMs);
      // while one is waited for, only those go that were before it anyway
      const isHeldBack = hold !== undefined && line.served > hold.served;
      if (!entry || isHeldBack || this.#isFruitless(entry, nowMs, wakes)) continue;
      if (!first || isBefore(line, first.line)) first = entry;
    }
    if (first) this.#begin(first, wakes, nowMs);
    return first;
  }

  /** It found no room. */
  blocked(entry: Entry, nowMs: number, wakes: number): void {
    entry.isTrying = false;
    entry.line.charge(entry, -1);
    this.#tries(entry.line, -1);
    this.#window = 1;
    this.#drain.start(nowMs);
    this.#triesLike(entry.isGuest, entry.headroom.requests > 0).add(entry.ask.work, wakes);
  }

  /** @param pages that it got */
  admitted(entry: Entry, pages: number, nowMs: number): void {
    this.#headroom.admitted(entry.line, pages, entry.ask.work, nowMs);
    this.#window = Math.min(MOST_TRIES, this.#window + 1);
    this.#drain.event(nowMs);
    this.remove(entry, nowMs);
    for (const line of this.#active) this.#passed(line, entry, nowMs);
  }

  /** How long a request waits that comes now, by how many go before it and how fast they do; undefined: not known. */
  waitMs({ tenant }: Ask, orderMs: number, nowMs: number): number | undefined {
    const line = this.line(tenant);
    const own = line.ahead(orderMs);
    // a guest may find room where others wait
    if (own === 0 && line.isIdle) return undefined;
    let ahead = own;
    for (const other of this.#active)
      if (other !== line) ahead += Math.min(other.size, ((own + 1) * other.weight) / line.weight);
    return this.#timeFor(ahead, nowMs);
  }

  /** How long it lasts until a whole queue has moved on; undefined: not known. */
  drainMs(nowMs: number): number | undefined {
    return this.#timeFor(this.size, nowMs);
  }

  #timeFor(requests: number, nowMs: number): number | undefined {
    if (requests === 0) return 0;
    const rate = this.#drain.perSecond(nowMs);
    return rate === undefined ? undefined : (requests / rate) * 1_000;
  }

  #activate(line: Line): void {
    let least = Infinity;
    for (const { served } of this.#active) least = Math.min(least, served);
    if (this.#active.size === 0) least = this.#last?.served ?? 0;
    line.served = Math.max(line.served, least);
    this.#active.add(line);
  }

  #begin(entry: Entry, wakes: number, nowMs: number): void {
    entry.isTrying = true;
    entry.headroom = this.#headroom.besides(entry.line, nowMs);
    entry.isGuest = entry.line.isIdle;
    entry.triedAt = wakes;
    entry.servedBefore = entry.line.served;
    entry.line.charge(entry, 1);
    this.#tries(entry.line, 1);
  }

  #tries(line: Line, change: 1 | -1): void {
    this.#trying += change;
    line.trying += change;
  }

  /** The line that others wait for, unless it waits for its own tenant's pages. */
  #holder(nowMs: number): Line | undefined {
    if (this.#hold && this.#hold.untilMs <= nowMs) this.#hold = undefined;
    const line = this.#hold?.entry.line;
    return line?.head && line.account.hasRoomFor(line.head.ask.pages) ? line : undefined;
  }

  #isFruitless({ line, ask }: Entry, nowMs: number, wakes: number): boolean {
    if (line.isIdle) return this.#guests.has(ask.work, wakes);
    if (this.#fruitless.has(ask.work, wakes)) return true;
    return this.#heldBack.has(ask.work, wakes) && this.#headroom.besides(line, nowMs).requests > 0;
  }

  #triesLike(isGuest: boolean, leavesRoom: boolean): Fruitless {
    if (isGuest) return this.#guests;
    return leavesRoom ? this.#heldBack : this.#fruitless;
  }

  /**
   * A head that found no room was passed by one whose turn it was not. When they were as much work as its own, the
   * others wait until it is in: freed piece by piece, what it needs would go to smaller ones for ever.
   */
  #passed(line: Line, by: Entry, nowMs: number): void {
    const { head } = line;
    if (!head || head.isTrying || head.triedAt < 0 || line.served >= by.servedBefore) return;
    head.passedWork += by.ask.work;
    if (this.#hold || head.hasHeld || head.passedWork < head.ask.work) return;
    head.hasHeld = true;
    this.#hold = { entry: head, untilMs: nowMs + HOLD_MS };
  }
}

/** Of two that were served alike, the one that asks for less. */
function isBefore(one: Line, other: Line): boolean {
  return one.served === other.served ? one.size < other.size : one.served < other.served;
}
