export interface RetryLimits {
  /** Retries that each new request adds to what may be made. */
  readonly perRequest: number;
  /** Retries that each second adds, however few requests come. */
  readonly perSecond: number;
  /** The most that may be made at one time; what the budget begins with. */
  readonly most: number;
}

/**
 * How many retries all requests together may still make: a share of the requests and a floor, so that a cluster whose
 * workers fail is not asked many times for everything that it is asked for.
 */
export class RetryBudget {
  #left: number;

  /** @param nowMs of any steady clock, as everywhere here */
  constructor(
    private readonly limits: RetryLimits,
    private nowMs: number,
  ) {
    this.#left = limits.most;
  }

  /** A request has begun. */
  deposit(): void {
    this.#add(this.limits.perRequest);
  }

  /** Whether one more may be made; it counts as made then. */
  take(nowMs: number): boolean {
    this.#add((Math.max(0, nowMs - this.nowMs) / 1_000) * this.limits.perSecond);
    this.nowMs = Math.max(this.nowMs, nowMs);
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  #add(retries: number): void {
    this.#left = Math.min(this.limits.most, this.#left + retries);
  }
}
