import { KvcError } from '@kvcapsule/contracts/errors';

export interface QueueLimits {
  readonly entries: number;
  readonly waitMs: number;
}

interface Entry<T> {
  attempt(): Promise<T | undefined>;
  settle(outcome: { value: T } | { error: Error }): void;
  settled: boolean;
}

/** How long a client that was refused for want of room should wait. */
const RETRY_AFTER_MS = 1_000;

/**
 * Requests that wait for room, first come first served: only the oldest one tries, so that a large request is
 * not overtaken for ever by small ones.
 */
export class AdmissionQueue<T> {
  readonly #waiting: Entry<T>[] = [];
  #pumping = false;
  #nudged = false;

  constructor(
    private readonly limits: QueueLimits,
    /** Gives back what an attempt won for somebody who had left meanwhile. */
    private readonly giveBack: (won: T) => void,
  ) {}

  get size(): number {
    return this.#waiting.length;
  }

  /**
   * Resolves with what `attempt` wins; an attempt that resolves with undefined is repeated after a nudge.
   * Rejects with `NO_CAPACITY` when the queue is full or the wait too long, with the signal's reason when it
   * fires, or as `attempt` does.
   */
  async enter(attempt: () => Promise<T | undefined>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.size >= this.limits.entries) throw noCapacity('All workers are full and so is the queue.');
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => entry.settle({ error: signal.reason as Error });
      const timer = setTimeout(() => {
        entry.settle({ error: noCapacity(`All workers stayed full for ${this.limits.waitMs / 1000} s.`) });
      }, this.limits.waitMs);
      const entry: Entry<T> = {
        attempt,
        settled: false,
        settle: (outcome) => {
          entry.settled = true;
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
          this.#waiting.splice(this.#waiting.indexOf(entry), 1);
          if ('value' in outcome) resolve(outcome.value);
          else reject(outcome.error);
          this.nudge();
        },
      };
      signal.addEventListener('abort', onAbort);
      this.#waiting.push(entry);
      this.nudge();
    });
  }

  /** Something may have become free: the oldest request tries again. */
  nudge(): void {
    this.#nudged = true;
    if (!this.#pumping) void this.#pump();
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    while (this.#nudged) {
      this.#nudged = false;
      const head = this.#waiting[0];
      if (head) await this.#tryOnce(head);
    }
    this.#pumping = false;
  }

  async #tryOnce(entry: Entry<T>): Promise<void> {
    try {
      const value = await entry.attempt();
      if (value === undefined) return;
      if (entry.settled) this.giveBack(value);
      else entry.settle({ value });
    } catch (error) {
      if (!entry.settled) entry.settle({ error: error as Error });
    }
  }
}

function noCapacity(message: string): KvcError {
  return new KvcError('NO_CAPACITY', message, { retryAfterMs: RETRY_AFTER_MS });
}
