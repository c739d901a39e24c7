import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import type { Prefill, Started } from '@kvcapsule/contracts/worker';
import type { Trial } from '@kvcapsule/domain/retries';

/** What no request brings upon its worker, and no worker says that is as it should be. */
const FAULTS: readonly ErrorCode[] = ['WORKER_LOST', 'ENGINE_FAILED', 'INTERNAL'];

/**
 * What one attempt says of its worker. It does well as soon as the engine has come forward with the request; that it
 * took the request in says nothing, as a broken one does, too.
 */
export class Verdict {
  #cachedTokens = 0;
  #hasProgressed = false;

  constructor(private readonly trial: Trial) {}

  started({ cachedTokens }: Started): void {
    this.#cachedTokens = cachedTokens;
  }

  prefilled({ computedTokens }: Prefill): void {
    if (computedTokens > this.#cachedTokens) this.progressed();
  }

  progressed(): void {
    if (this.#hasProgressed) return;
    this.#hasProgressed = true;
    this.trial.succeeded();
  }

  failed(error: KvcError, atMs: number): void {
    if (FAULTS.includes(error.code) || this.#isLate(error)) this.trial.failed(atMs, Math.random());
  }

  /** The client that goes away says nothing of the worker. */
  aborted(reason: unknown): void {
    if (this.#isLate(reason)) this.trial.failed(performance.now(), Math.random());
  }

  /** All the time that an answer may take has passed without a token of the prompt. */
  #isLate(error: unknown): boolean {
    return error instanceof KvcError && error.code === 'DEADLINE_EXCEEDED' && !this.#hasProgressed;
  }
}
