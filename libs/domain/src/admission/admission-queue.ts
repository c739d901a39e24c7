/** Requests with equal keys share a line. */
export interface AdmissionKey {
  readonly modelId: string;
  readonly tenant: string;
}

export interface AdmissionLimits {
  /** Requests of one line that may wait. */
  readonly entriesPerLine: number;
  /** The longest that one may wait. */
  readonly waitMs: number;
}

/** Refused before it waited: its line is full, or its own time is up. */
export type Rejection = 'line-full' | 'deadline';

/** Removed after it waited: for as long as anybody may, or until its own time was up. */
export type Eviction = 'waited' | 'deadline';

export interface Evicted {
  readonly id: number;
  readonly cause: Eviction;
}

interface Entry {
  readonly line: Line;
  /** Whichever comes first: the longest wait or the request's own deadline. */
  readonly leaveByMs: number;
  readonly cause: Eviction;
}

interface Line {
  readonly name: string;
  /** In the order of arrival. */
  readonly entries: Map<number, Entry>;
  /**
   * `ready`: its head may try. `trying`: it does. `woken`: it does, and something has changed meanwhile. `blocked`: it
   * found no room, and nothing has changed since.
   */
  state: 'ready' | 'trying' | 'woken' | 'blocked';
}

/**
 * Requests that wait for room, as a state machine without a clock: every time is an argument, in ms of one
 * monotonic clock. A line is served in the order of arrival, and only its head tries, so that a large request is
 * not overtaken for ever by small ones of its own kind. Lines take turns, and a head that finds no room blocks
 * its own line only.
 */
export class AdmissionQueue {
  /** Lines with entries; the one that tried longest ago first. */
  readonly #lines = new Map<string, Line>();
  readonly #entries = new Map<number, Entry>();

  constructor(private readonly limits: AdmissionLimits) {}

  get size(): number {
    return this.#entries.size;
  }

  /** When the next entry is to leave; undefined while nobody waits. */
  get nextExpiryMs(): number | undefined {
    let nextMs: number | undefined;
    for (const { leaveByMs } of this.#entries.values()) nextMs = Math.min(nextMs ?? leaveByMs, leaveByMs);
    return nextMs;
  }

  /** Puts a request at the end of its line; `id` is new. Undefined where it waits from here on. */
  enter(id: number, key: AdmissionKey, deadlineMs: number, nowMs: number): Rejection | undefined {
    if (deadlineMs <= nowMs) return 'deadline';
    const name = JSON.stringify([key.modelId, key.tenant]);
    const line = this.#lines.get(name) ?? { name, entries: new Map(), state: 'ready' };
    if (line.entries.size >= this.limits.entriesPerLine) return 'line-full';
    const waitedMs = nowMs + this.limits.waitMs;
    const cause = deadlineMs < waitedMs ? 'deadline' : 'waited';
    const entry: Entry = { line, leaveByMs: Math.min(deadlineMs, waitedMs), cause };
    line.entries.set(id, entry);
    this.#lines.set(name, line);
    this.#entries.set(id, entry);
    return undefined;
  }

  /** The head of the line whose turn it is: it tries, until `blocked` or `leave`. Undefined while none may. */
  next(nowMs: number): number | undefined {
    for (const line of this.#lines.values()) {
      const [head] = line.entries;
      if (line.state !== 'ready' || !head || head[1].leaveByMs <= nowMs) continue;
      line.state = 'trying';
      this.#toTheEnd(line);
      return head[0];
    }
    return undefined;
  }

  /** The one that tries found no room: its line waits for a wake, or tries again if one came meanwhile. */
  blocked(id: number): void {
    const line = this.#entries.get(id)?.line;
    if (line) line.state = line.state === 'woken' ? 'ready' : 'blocked';
  }

  /** It was admitted, or does not want to be any longer. False where it had left already. */
  leave(id: number): boolean {
    const entry = this.#entries.get(id);
    if (!entry) return false;
    const { line } = entry;
    const [head] = line.entries.keys();
    this.#entries.delete(id);
    line.entries.delete(id);
    // A new head has not tried yet; it may be smaller than the one before it.
    if (head === id) line.state = 'ready';
    if (line.entries.size === 0) this.#lines.delete(line.name);
    return true;
  }

  /** Removes everybody whose time is up. */
  expire(nowMs: number): Evicted[] {
    const evicted: Evicted[] = [];
    for (const [id, { leaveByMs, cause }] of this.#entries) {
      if (leaveByMs > nowMs) continue;
      this.leave(id);
      evicted.push({ id, cause });
    }
    return evicted;
  }

  /** Something may have become free: every head may try again. */
  wake(): void {
    for (const line of this.#lines.values()) {
      if (line.state === 'blocked') line.state = 'ready';
      else if (line.state === 'trying') line.state = 'woken';
    }
  }

  #toTheEnd(line: Line): void {
    this.#lines.delete(line.name);
    this.#lines.set(line.name, line);
  }
}
