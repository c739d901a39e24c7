import type { KvcError } from '@kvcapsule/contracts/errors';
import {
  type AdmissionKey,
  AdmissionQueue,
  type Ask,
  type Evicted,
  type OverCap,
  type Refusal,
  type TenantTerms,
} from '@kvcapsule/domain/admission';
import { DEFAULT_PRINCIPAL } from '@kvcapsule/domain/request';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { Ports } from '../ports.js';
import { Settings } from '../settings.js';
import { AdmissionMetrics } from './admission-metrics.js';
import { overCap, type OverPages, refused } from './refusals.js';
import { type Attempt, type Office, Ticket } from './ticket.js';

interface Waiter {
  readonly tenant: string;
  tryOnce(): Promise<void>;
  fail(error: Error): void;
}

/** Requests that wait for room: drives the pure queue with a clock, one timer and the fleet's news. */
@Injectable()
export class Admission implements Office, OnApplicationShutdown {
  readonly #queue: AdmissionQueue;
  readonly #metrics: AdmissionMetrics;
  readonly #waiters = new Map<number, Waiter>();
  #nextId = 0;
  #timer: { readonly atMs: number; readonly handle: NodeJS.Timeout } | undefined;

  constructor(
    private readonly settings: Settings,
    private readonly ports: Ports,
    fleet: Fleet,
    telemetry: Telemetry,
  ) {
    const { queueEntries: entriesPerModel, queueBytes: bytes, queueWaitMs: waitMs, tenants } = settings;
    const terms = new Map<string, TenantTerms>(tenants.map((tenant) => [tenant.name, tenant]));
    this.#queue = new AdmissionQueue({ entriesPerModel, bytes, waitMs }, terms);
    const names = [DEFAULT_PRINCIPAL.tenant, ...tenants.map(({ name }) => name)];
    this.#metrics = new AdmissionMetrics(telemetry.metrics, [...new Set(names)]);
    fleet.onChange(() => {
      this.#queue.accounts.shareAmong(this.ports.routers, performance.now());
      this.#queue.wake();
      this.pump();
    });
  }

  onApplicationShutdown(): void {
    clearTimeout(this.#timer?.handle);
  }

  /** Requests that wait or try. */
  get size(): number {
    return this.#queue.size;
  }

  /** Takes a request onto its tenant's account, until the ticket's `close`. Throws `RATE_LIMIT_EXCEEDED`. */
  open(key: AdmissionKey, priority: number): Ticket {
    this.#queue.accounts.shareAmong(this.ports.routers, performance.now());
    const account = this.#queue.accounts.of(key.tenant);
    const over = account.open(performance.now());
    if (over) throw this.overCap(key.tenant, over);
    return new Ticket(this, account, key, priority);
  }

  /** Sets the gauges. */
  measure(): void {
    this.#metrics.waiting(this.#queue.waiting(), this.#queue.bytes);
  }

  overCap(tenant: string, over: OverCap | OverPages): KvcError {
    this.#metrics.refused(tenant, `cap-${over.cap}`);
    return overCap(over);
  }

  expectedAnswer(key: AdmissionKey, maxTokens: number): number {
    return this.#queue.expectedAnswer(key, maxTokens);
  }

  settle(ask: Pick<Ask, 'modelId' | 'tenant' | 'work'>, promptTokens: number, answerTokens: number): void {
    this.#queue.settle(ask, promptTokens, answerTokens);
  }

  /**
   * Resolves with what the attempt wins. Rejects with `QUEUE_FULL` when too many wait who have more right to it, at
   * once or later; with `NO_CAPACITY` after the longest wait, or at once where it is sure to take longer; with
   * `DEADLINE_EXCEEDED` likewise for the request's own time; with the signal's reason when it fires, or as the attempt
   * does.
   */
  async enter<T>(ask: Ask, attempt: Attempt<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const id = this.#nextId++;
    const nowMs = performance.now();
    const { refusal, shed } = this.#queue.enter(id, ask, nowMs);
    if (refusal) throw this.#refused(ask.tenant, refusal);
    this.#dismiss(shed);
    this.#expireBy(Math.min(ask.deadlineMs, nowMs + this.settings.queueWaitMs));
    return new Promise<T>((resolve, reject) => {
      const forget = (): void => {
        signal.removeEventListener('abort', onAbort);
        this.#waiters.delete(id);
      };
      const fail = (error: Error): void => {
        forget();
        this.#queue.leave(id, performance.now());
        reject(error);
      };
      const onAbort = (): void => {
        fail(signal.reason as Error);
        this.pump();
      };
      const win = (won: T): void => {
        if (!this.#queue.admitted(id, attempt.pagesOf(won), performance.now())) return attempt.giveBack(won);
        forget();
        this.#metrics.admitted(ask.tenant, performance.now() - nowMs);
        resolve(won);
      };
      const tryOnce = async (): Promise<void> => {
        try {
          const won = await attempt.run(this.#queue.turn(id));
          if (won === undefined) this.#queue.blocked(id, performance.now());
          else win(won);
        } catch (error) {
          fail(error as Error);
        }
        this.pump();
      };
      signal.addEventListener('abort', onAbort);
      this.#waiters.set(id, { tenant: ask.tenant, tryOnce, fail });
      this.pump();
    });
  }

  /** Lets those try whose turn it is. */
  pump(): void {
    const nowMs = performance.now();
    for (let id = this.#queue.next(nowMs); id !== undefined; id = this.#queue.next(nowMs))
      void this.#waiters.get(id)?.tryOnce();
  }

  #dismiss(evicted: readonly Evicted[]): void {
    for (const each of evicted) {
      const waiter = this.#waiters.get(each.id);
      waiter?.fail(this.#refused(waiter.tenant, each));
    }
  }

  #refused(tenant: string, why: Refusal | Evicted): KvcError {
    this.#metrics.refused(tenant, why.cause);
    return refused(why, this.settings.queueWaitMs);
  }

  #expire(): void {
    this.#timer = undefined;
    this.#dismiss(this.#queue.expire(performance.now()));
    const { nextExpiryMs } = this.#queue;
    if (nextExpiryMs !== undefined) this.#expireBy(nextExpiryMs);
    this.pump();
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
}
