import { KvcError } from '@kvcapsule/contracts';

/** Lets calls in flight finish before what they use is freed, and refuses calls that come after. */
export class DisposeGuard {
  #inFlight = 0;
  #disposal: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  get disposed(): boolean {
    return this.#disposal !== undefined;
  }

  /** Runs `call` as work in flight. Rejects with DRAINING after {@link dispose}. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.disposed) throw new KvcError('DRAINING', 'the engine has been disposed');
    this.#inFlight++;
    try {
      return await call();
    } finally {
      this.#inFlight--;
      if (this.#inFlight === 0) this.#idle?.();
    }
  }

  /** Refuses new work at once, waits for work in flight, then runs `free`; later calls await the same. */
  dispose(free: () => Promise<void>): Promise<void> {
    this.#disposal ??= this.#whenIdle().then(free);
    return this.#disposal;
  }

  #whenIdle(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle = resolve;
    });
  }
}
