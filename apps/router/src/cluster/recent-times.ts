/** Quantiles of the last few times, in the unit of what was added. */
export interface RecentQuantiles {
  readonly p50: number | null;
  readonly p95: number | null;
}

const NONE: RecentQuantiles = { p50: null, p95: null };

/** The newest values of a stream of measurements: a ring, so that noting one costs a few nanoseconds. */
export class RecentTimes {
  readonly #values: Float64Array;
  readonly #atMs: Float64Array;
  #next = 0;
  #size = 0;

  constructor(capacity: number) {
    this.#values = new Float64Array(capacity);
    this.#atMs = new Float64Array(capacity);
  }

  add(value: number, nowMs: number): void {
    this.#values[this.#next] = value;
    this.#atMs[this.#next] = nowMs;
    this.#next = (this.#next + 1) % this.#values.length;
    this.#size = Math.min(this.#size + 1, this.#values.length);
  }

  /** Of those that were added at `sinceMs` or later. */
  quantiles(sinceMs: number): RecentQuantiles {
    const sorted = this.#values
      .subarray(0, this.#size)
      .filter((_, at) => (this.#atMs[at] ?? 0) >= sinceMs)
      .sort();
    if (sorted.length === 0) return NONE;
    const rank = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? null;
    return { p50: rank(0.5), p95: rank(0.95) };
  }
}
