/** What happened so long ago counts for 1/e. */
const MEMORY_MS = 10_000;
/** A gap without a look is longer than anybody waits only where the process or its machine stood still. */
const STOOD_STILL_MS = 60_000;
/** Fewer events say too little: they may have come in one burst. */
const ENOUGH_EVENTS = 8;

/**
 * How many events a second there are while somebody waits for them, as an exponentially weighted average. Time in which
 * nobody waits does not count, since then the rate is that of arrivals and not what could be had. After a standstill it
 * begins anew: a rate of nothing would have everybody refused.
 */
export class RateMeter {
  #events = 0;
  #timeMs = 0;
  #seen = 0;
  /** Until then everything is counted; undefined while nobody waits. */
  #countedMs: number | undefined;

  /** From here on somebody waits. */
  start(nowMs: number): void {
    this.#countedMs ??= nowMs;
  }

  /** Nobody waits any longer. */
  stop(nowMs: number): void {
    this.#advance(nowMs);
    this.#countedMs = undefined;
  }

  event(nowMs: number): void {
    if (this.#countedMs === undefined) return;
    this.#advance(nowMs);
    this.#events += 1;
    this.#seen += 1;
  }

  /** Undefined until enough was seen, and while nobody waits. */
  perSecond(nowMs: number): number | undefined {
    this.#advance(nowMs);
    if (this.#countedMs === undefined || this.#seen < ENOUGH_EVENTS) return undefined;
    return (this.#events / Math.max(1, this.#timeMs)) * 1_000;
  }

  #advance(nowMs: number): void {
    if (this.#countedMs === undefined || nowMs <= this.#countedMs) return;
    if (nowMs - this.#countedMs > STOOD_STILL_MS) return this.#beginAnew(nowMs);
    const decay = Math.exp((this.#countedMs - nowMs) / MEMORY_MS);
    this.#events *= decay;
    this.#timeMs = this.#timeMs * decay + MEMORY_MS * (1 - decay);
    this.#countedMs = nowMs;
  }

  #beginAnew(nowMs: number): void {
    this.#events = this.#timeMs = this.#seen = 0;
    this.#countedMs = nowMs;
  }
}
