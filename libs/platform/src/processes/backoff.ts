const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 30_000;
/** A process that ran this long counts as healthy: its next end starts from the first delay again. */
const STEADY_MS = 60_000;

/** Waiting times between restarts of one process: doubling, capped, forgotten after a steady run. Pure. */
export class Backoff {
  private failures = 0;

  /** @param ranMs how long the run that just ended lasted */
  nextDelayMs(ranMs: number): number {
    if (ranMs >= STEADY_MS) this.failures = 0;
    const delayMs = Math.min(FIRST_DELAY_MS * 2 ** this.failures, MAX_DELAY_MS);
    this.failures += 1;
    return delayMs;
  }
}
