import type { Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Settings } from '../settings.js';

/** How long answers that were aborted at the end of the drain get to say so. */
const LAST_WORD_MS = 500;
/** As long as a worker may take to say that it has stopped, and then some: leases are given back after that. */
const GIVE_BACK_MS = 6_000;
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

/**
 * The generations under way. When the router is asked to end it takes no connection any more; they end by themselves
 * until the drain's end, then they are aborted, and their clients hear so at once.
 */
@Injectable()
export class Inflight implements BeforeApplicationShutdown {
  readonly #open = new Set<AbortController>();
  readonly #works = new Set<Promise<void>>();
  draining = false;

  constructor(
    private readonly settings: Settings,
    private readonly host: HttpAdapterHost,
  ) {}

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

  /** What a generation holds is given back when this has ended, which may be after its client has heard the last of it. */
  hold(work: Promise<void>): void {
    this.#works.add(work);
    void work.finally(() => this.#works.delete(work));
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.draining = true;
    (this.host.httpAdapter.getHttpServer() as Server).close();
    await untilEmpty(this.#open, this.settings.drainMs);
    for (const controller of this.#open) controller.abort(draining());
    // The last event of each leaves before the sockets are cut.
    await untilEmpty(this.#open, LAST_WORD_MS);
    await untilEmpty(this.#works, GIVE_BACK_MS);
  }
}

async function untilEmpty(those: ReadonlySet<unknown>, limitMs: number): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (those.size > 0 && performance.now() < endMs) await sleep(POLL_MS);
}

function draining(): KvcError {
  return new KvcError('DRAINING', 'The server is shutting down.', { retryAfterMs: 1_000 });
}
