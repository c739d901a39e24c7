import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { Settings } from '../settings.js';

/** How long answers that were aborted at the end of the drain get to say so. */
const LAST_WORD_MS = 500;
const POLL_MS = 10;

/** How long a generation may go on. */
export interface Lifetime {
  /** Fires when its time is up, when it is aborted or when the router stops; the reason is the error. */
  readonly signal: AbortSignal;
  /** `performance.now()` at which its time is up. */
  readonly deadlineMs: number;
  readonly abort: (reason: Error) => void;
  /** Nobody follows it any longer. */
  readonly close: () => void;
}

/** The generations under way: they end by themselves until the drain's end, then they are aborted. */
@Injectable()
export class Inflight implements BeforeApplicationShutdown {
  readonly #open = new Set<AbortController>();
  draining = false;

  constructor(private readonly settings: Settings) {}

  get size(): number {
    return this.#open.size;
  }

  /** Throws `DRAINING` while the router shuts down. */
  open(): Lifetime {
    if (this.draining) throw draining();
    const controller = new AbortController();
    const { requestTimeoutMs } = this.settings;
    const timer = setTimeout(() => {
      controller.abort(
        new KvcError('DEADLINE_EXCEEDED', 'The answer took too long.', { retryAfterMs: 1_000 }),
      );
    }, requestTimeoutMs);
    this.#open.add(controller);
    return {
      signal: controller.signal,
      deadlineMs: performance.now() + requestTimeoutMs,
      abort: (reason) => {
        controller.abort(reason);
      },
      close: () => {
        clearTimeout(timer);
        this.#open.delete(controller);
      },
    };
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.draining = true;
    await this.#untilEmpty(this.settings.drainMs);
    for (const controller of this.#open) controller.abort(draining());
    // The last event of each leaves before the sockets are cut.
    await this.#untilEmpty(LAST_WORD_MS);
  }

  async #untilEmpty(limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs;
    while (this.#open.size > 0 && performance.now() < endMs) await sleep(POLL_MS);
  }
}

function draining(): KvcError {
  return new KvcError('DRAINING', 'The server is shutting down.', { retryAfterMs: 1_000 });
}
