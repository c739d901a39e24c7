/** How an engine's time goes by; `performance` and timers outside of tests. */
export interface Clock {
  nowMs(): number;
  /** Resolves when it is that time, give or take a timer's millisecond. */
  until(atMs: number): Promise<void>;
}

export const WALL_CLOCK: Clock = {
  nowMs: () => performance.now(),
  until: async (atMs) => {
    const waitMs = Math.round(atMs - performance.now());
    // a timer takes a millisecond at least: what is shorter is made good by what comes next
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  },
};

/**
 * The one thread of an engine, as far as time goes: work is done in the order it comes in, each piece after the one
 * before. Timers that fire late do not add up, since work that waited begins when the thread was free.
 */
export class EngineTime {
  #freeAtMs = -Infinity;

  constructor(
    /** Times that the thread is faster than what is modelled. */
    private readonly speedup: number,
    private readonly clock: Clock = WALL_CLOCK,
  ) {}

  /** Resolves when work is done that takes so many milliseconds of the engine that is modelled. */
  async spend(modelledMs: number): Promise<void> {
    this.#freeAtMs = Math.max(this.#freeAtMs, this.clock.nowMs()) + modelledMs / this.speedup;
    await this.clock.until(this.#freeAtMs);
  }
}
