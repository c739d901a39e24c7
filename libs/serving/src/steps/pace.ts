/** What a step of prefill may take: so long a cancelled request, a drain and word of a prompt's progress wait for it. */
const STEP_MS = 2000;
/** Fewer rows pay for reading the weights more often than the products' own blocks do. */
const LEAST_ROWS = 128;
/** Until a step has been seen. */
const FIRST_ROWS = 2 * LEAST_ROWS;

/** How many rows of prefill the engine computes in the time that a step may take, by what the last ones took. */
export class Pace {
  #rows = FIRST_ROWS;

  get rows(): number {
    return this.#rows;
  }

  /** A step of so many rows has run. Few rows tell nothing: they take as long as reading the weights. */
  landed(rows: number, durationMs: number): void {
    if (rows < LEAST_ROWS) return;
    const inTime = Math.floor((rows * STEP_MS) / Math.max(durationMs, 1));
    // a step that was lucky must not make the next one many times as long
    this.#rows = Math.max(LEAST_ROWS, Math.min(inTime, 2 * Math.max(rows, this.#rows)));
  }
}
