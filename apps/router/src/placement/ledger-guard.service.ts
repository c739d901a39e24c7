import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import type { LeaseKey } from '@kvcapsule/domain/ledger';
import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { Ports } from '../ports.js';

/** The longest that a request waits for the ledger: many times what a healthy one takes, and little beside a prefill. */
const BUDGET_MS = 250;
/** Between two probes of a ledger that does not answer in time. */
const PROBE_MS = 250;

const LATE = 'Redis does not answer in time';

/**
 * What came of a reservation: `forgotten` where the store has no record of the worker, `away` where it did not answer
 * in time, or not as it should.
 */
export type LedgerAnswer = 'reserved' | 'refused' | 'forgotten' | 'away';

const ANSWERS: Partial<Record<ErrorCode, LedgerAnswer>> = {
  NO_CAPACITY: 'refused',
  STALE_EPOCH: 'refused',
  NO_WORKER: 'forgotten',
  LEDGER_UNAVAILABLE: 'away',
  STALE_ROUTER: 'away',
};

/**
 * The ledger as requests may ask it. The first reservation without an answer in time opens a breaker: no request waits
 * for the ledger until a probe, one at a time and in the background, is answered in time.
 */
@Injectable()
export class LedgerGuard implements OnApplicationShutdown {
  readonly #log = new Logger(LedgerGuard.name);
  readonly #stopped = new AbortController();
  #openedMs: number | undefined;
  /** Why the last call brought no answer. */
  #fault = LATE;

  constructor(private readonly ports: Ports) {}

  onApplicationShutdown(): void {
    this.#stopped.abort();
  }

  /** While it is, requests go on without the ledger. */
  get isOpen(): boolean {
    return this.#openedMs !== undefined;
  }

  /** Why requests go on without the ledger, while they do. */
  get fault(): string | undefined {
    return this.isOpen ? this.#fault : undefined;
  }

  /** Rejects with faults of this program alone. */
  async reserve(key: LeaseKey, pages: number): Promise<LedgerAnswer> {
    if (this.isOpen) return 'away';
    const answer = await within(BUDGET_MS, this.#ask(key, pages)).catch((error: unknown) => {
      void this.#release(key);
      throw error;
    });
    if (answer !== undefined && answer !== 'away') return answer;
    // It may have been written, or be written yet, although no answer came back.
    void this.#release(key);
    if (answer === undefined) this.#fault = LATE;
    this.#open(key);
    return 'away';
  }

  /**
   * Gives a lease back; resolves when that is done, or is not waited for any longer. Never rejects: what is not given
   * back here is by the worker that took it on, or runs out.
   */
  async giveBack(key: LeaseKey): Promise<void> {
    if (!this.isOpen) await within(BUDGET_MS, this.#release(key));
  }

  #open(key: LeaseKey): void {
    if (this.isOpen) return;
    this.#openedMs = performance.now();
    this.#log.warn(`${this.#fault}; workers decide by themselves what they take on.`);
    void this.#close(key);
  }

  /**
   * Probes on until one is answered in time. A probe is a reservation, of no pages: where memory is short reading
   * goes on.
   */
  async #close(key: LeaseKey): Promise<void> {
    const { signal } = this.#stopped;
    for (;;) {
      await sleep(PROBE_MS, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      const probe = { ...key, leaseId: randomUUID() };
      const asked = this.#ask(probe, 0);
      const answer = await within(BUDGET_MS, asked).catch(() => 'away');
      if (answer === undefined) this.#fault = LATE;
      const released = this.#release(probe);
      if (answer !== undefined && answer !== 'away') break;
      await Promise.allSettled([asked, released]);
    }
    const awayMs = performance.now() - (this.#openedMs ?? 0);
    this.#openedMs = undefined;
    this.#log.log(`The ledger answers again after ${Math.round(awayMs)} ms.`);
  }

  async #ask(key: LeaseKey, pages: number): Promise<LedgerAnswer> {
    try {
      await this.ports.ledger.reserve(key, pages);
      return 'reserved';
    } catch (error) {
      const answer = error instanceof KvcError ? ANSWERS[error.code] : undefined;
      if (!(error instanceof KvcError) || answer === undefined) throw error;
      if (answer === 'away') this.#fault = error.message;
      return answer;
    }
  }

  async #release(key: LeaseKey): Promise<void> {
    try {
      await this.ports.ledger.release(key);
    } catch {
      // Redis is away; readiness shows it.
    }
  }
}

/** Undefined where it takes longer. An answer that lies unread, since this process was busy, is not late. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => setImmediate(resolve, undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
