const MINUTE_MS = 60_000;

/**
 * A bound on tokens a minute: full with a minute's worth, refilled evenly. What turns out to have cost more than it was
 * charged for is owed, so the bound holds over time whatever the estimates are.
 */
export class TokenBucket {
  #level: number;
  #atMs = 0;

  /** @param perMinute tokens; `Infinity`: no bound */
  constructor(private perMinute: number) {
    this.#level = perMinute;
  }

  /** Another bound from here on; what is owed stays. */
  resize(perMinute: number, nowMs: number): void {
    this.#refill(nowMs);
    this.perMinute = perMinute;
    this.#level = Math.min(perMinute, this.#level);
  }

  /**
   * Takes the tokens; where they are not there, takes nothing and returns how many ms it lasts until they are. A charge
   * above the whole bucket needs a full one, which is then in debt.
   */
  take(tokens: number, nowMs: number): number | undefined {
    if (this.perMinute === Infinity) return undefined;
    this.#refill(nowMs);
    const missing = Math.min(tokens, this.perMinute) - this.#level;
    if (missing > 0) return (missing / this.perMinute) * MINUTE_MS;
    this.#level -= tokens;
    return undefined;
  }

  /** Puts right what was charged by an estimate: `tokens` more, or less where negative. */
  settle(tokens: number): void {
    this.#level = Math.min(this.perMinute, this.#level - tokens);
  }

  #refill(nowMs: number): void {
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#atMs = Math.max(this.#atMs, nowMs);
    this.#level = Math.min(this.perMinute, this.#level + (this.perMinute * passedMs) / MINUTE_MS);
  }
}
