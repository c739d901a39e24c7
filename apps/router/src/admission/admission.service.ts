import { KvcError } from '@kvcapsule/contracts/errors';
import {
  type AdmissionKey,
  AdmissionQueue,
  type Eviction,
  type Rejection,
} from '@kvcapsule/domain/admission';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import { Settings } from '../settings.js';

/** How long a client that was refused for want of room should wait. */
const RETRY_AFTER_MS = 1_000;

/** What a request does when it is its turn. */
export interface Attempt<T> {
  /** Resolves to undefined where there is no room: it is called again when the fleet has changed. */
  run(): Promise<T | undefined>;
  /** Gives back what was won for somebody who had left meanwhile. */
  giveBack(won: T): void;
}

interface Waiter {
  tryOnce(): Promise<void>;
  fail(error: Error): void;
}

/** Requests that wait for room: drives the pure queue with a clock, one timer and the fleet's news. */
@Injectable()
export class Admission implements OnApplicationShutdown {
  readonly #queue: AdmissionQueue;
  readonly #waiters = new Map<number, Waiter>();
  #nextId = 0;
  #timer: { readonly atMs: number; readonly handle: NodeJS.Timeout } | undefined;

  constructor(
    private readonly settings: Settings,
    fleet: Fleet,
  ) {
    const { queueEntries, queueWaitMs } = settings;
    this.#queue = new AdmissionQueue({ entriesPerLine: queueEntries, waitMs: queueWaitMs });
    fleet.onChange(() => {
      this.#queue.wake();
      this.#pump();
    });
  }

  onApplicationShutdown(): void {
    clearTimeout(this.#timer?.handle);
  }

  /** Requests that wait or try. */
  get size(): number {
    return this.#queue.size;
  }

  /**
   * Resolves with what the attempt wins. Rejects with `QUEUE_FULL` at once when too many of its line wait, with
   * `NO_CAPACITY` after the longest wait, with `DEADLINE_EXCEEDED` at `deadlineMs` (of `performance.now()`), with
   * the signal's reason when it fires, or as the attempt does.
   */
  async enter<T>(
    key: AdmissionKey,
    attempt: Attempt<T>,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<T> {
    signal.throwIfAborted();
    const id = this.#nextId++;
    const nowMs = performance.now();
    const rejection = this.#queue.enter(id, key, deadlineMs, nowMs);
    if (rejection) throw this.#rejected(rejection);
    this.#expireBy(Math.min(deadlineMs, nowMs + this.settings.queueWaitMs));
    return new Promise<T>((resolve, reject) => {
      const leave = (): boolean => {
        signal.removeEventListener('abort', onAbort);
        this.#waiters.delete(id);
        return this.#queue.leave(id);
      };
      const fail = (error: Error): void => {
        leave();
        reject(error);
      };
      const onAbort = (): void => {
        fail(signal.reason as Error);
        this.#pump();
      };
      const tryOnce = async (): Promise<void> => {
        try {
          const won = await attempt.run();
          if (won === undefined) this.#queue.blocked(id);
          else if (leave()) resolve(won);
          else attempt.giveBack(won);
        } catch (error) {
          fail(error as Error);
        }
        this.#pump();
      };
      signal.addEventListener('abort', onAbort);
      this.#waiters.set(id, { tryOnce, fail });
      this.#pump();
    });
  }

  /** Lets every head try whose turn it is. */
  #pump(): void {
    const nowMs = performance.now();
    for (let id = this.#queue.next(nowMs); id !== undefined; id = this.#queue.next(nowMs))
      void this.#waiters.get(id)?.tryOnce();
  }

  #expire(): void {
    this.#timer = undefined;
    for (const { id, cause } of this.#queue.expire(performance.now()))
      this.#waiters.get(id)?.fail(this.#evicted(cause));
    const { nextExpiryMs } = this.#queue;
    if (nextExpiryMs !== undefined) this.#expireBy(nextExpiryMs);
    this.#pump();
  }

  /** One timer for all: looking for who leaves next costs as much as there are that wait, so it is done when one does. */
  #expireBy(atMs: number): void {
    if (this.#timer && this.#timer.atMs <= atMs) return;
    clearTimeout(this.#timer?.handle);
    const waitMs = Math.max(0, atMs - performance.now());
    const handle = setTimeout(() => {
      this.#expire();
    }, waitMs);
    this.#timer = { atMs, handle };
  }

  #rejected(rejection: Rejection): KvcError {
    if (rejection === 'deadline') return deadlineExceeded();
    const message = `All workers are full, and ${this.settings.queueEntries} requests wait for them already.`;
    return new KvcError('QUEUE_FULL', message, { retryAfterMs: RETRY_AFTER_MS });
  }

  #evicted(cause: Eviction): KvcError {
    if (cause === 'deadline') return deadlineExceeded();
    const message = `No worker had room for this request within ${this.settings.queueWaitMs / 1_000} s.`;
    return new KvcError('NO_CAPACITY', message, { retryAfterMs: RETRY_AFTER_MS });
  }
}

function deadlineExceeded(): KvcError {
  const message = 'The time for this answer was up before a worker had room.';
  return new KvcError('DEADLINE_EXCEEDED', message, { retryAfterMs: RETRY_AFTER_MS });
}
