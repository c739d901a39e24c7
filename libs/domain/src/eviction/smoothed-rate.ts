/** The first so many count alike, from there on the newest as much as one of so many. */
const SMOOTHED_OVER = 32;
/** One that lies further from the rate than by this factor counts as if it lay there. */
const MOST_CHANGE = 4;
/** A clock that has stood still, or a machine that has slept, tells nothing. */
const [LEAST_SECONDS, MOST_SECONDS] = [1e-9, 10];

/**
 * Seconds a unit of work, as a geometric mean that forgets: work that took ten times as long as usual and work that
 * took a tenth pull alike, and a single one moves it by a few percent.
 */
export class SmoothedRate {
  #value: number | undefined;
  #observed = 0;

  /** Undefined until something was observed. */
  get value(): number | undefined {
    return this.#value;
  }

  /** Without units or with a rate that no machine has nothing is learned. */
  observe(units: number, seconds: number): void {
    const rate = seconds / units;
    if (!(rate >= LEAST_SECONDS && rate <= MOST_SECONDS)) return;
    this.#observed = Math.min(SMOOTHED_OVER, this.#observed + 1);
    if (this.#value === undefined) {
      this.#value = rate;
      return;
    }
    const change = Math.min(MOST_CHANGE, Math.max(1 / MOST_CHANGE, rate / this.#value));
    this.#value *= change ** (1 / this.#observed);
  }
}
