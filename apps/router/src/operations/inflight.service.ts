import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Settings } from '../settings.js';

/** How long answers that were aborted at the end of the drain get to say so. */
const LAST_WORD_MS = 500;
const POLL_MS = 10;
/** How often a client that closed its sending side is checked for being there at all. */
const PROBE_MS = 150;

/** What is being answered: answers end by themselves until the drain's end, then they are aborted. */
@Injectable()
export class Inflight implements BeforeApplicationShutdown {
  readonly #open = new Set<AbortController>();
  draining = false;

  constructor(private readonly settings: Settings) {}

  get size(): number {
    return this.#open.size;
  }

  /**
   * The signal fires when the client goes (`ABORTED`), the request's time is up or the router stops. `probe`
   * is called again and again once the client has closed its sending side: such a client may still wait or be
   * gone for good, and only writing to it tells.
   */
  start(reply: FastifyReply, probe: () => void): AbortSignal {
    if (this.draining)
      throw new KvcError('DRAINING', 'The server is shutting down.', { retryAfterMs: 1_000 });
    const controller = new AbortController();
    const { socket } = reply.request.raw;
    let probing: NodeJS.Timeout | undefined;
    const onHalfClose = () => {
      probing = setInterval(probe, PROBE_MS);
    };
    const deadline = setTimeout(() => {
      controller.abort(
        new KvcError('DEADLINE_EXCEEDED', 'The answer took too long.', { retryAfterMs: 1_000 }),
      );
    }, this.settings.requestTimeoutMs);
    this.#open.add(controller);
    socket.once('end', onHalfClose);
    // The reply's close, not the request's: the request closes once its body is read.
    reply.raw.once('close', () => {
      this.#open.delete(controller);
      clearTimeout(deadline);
      clearInterval(probing);
      socket.off('end', onHalfClose);
      if (!reply.raw.writableFinished) controller.abort(new KvcError('ABORTED', 'The client went away.'));
    });
    return controller.signal;
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.draining = true;
    await this.#untilEmpty(this.settings.drainMs);
    const reason = new KvcError('DRAINING', 'The server is shutting down.', { retryAfterMs: 1_000 });
    for (const controller of this.#open) controller.abort(reason);
    // The last event of each leaves before the sockets are cut.
    await this.#untilEmpty(LAST_WORD_MS);
  }

  async #untilEmpty(limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs;
    while (this.#open.size > 0 && performance.now() < endMs) await sleep(POLL_MS);
  }
}
