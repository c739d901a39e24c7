import type { Scheduler } from '@kvcapsule/domain/scheduling';

import type { Lease, LeaseEffect, ResizeAnswer } from './lease-effects.js';

/** How long the ledger is left alone after it refused to let running requests grow. */
const REST_MS = 100;
/** Blocks that a lease runs ahead at most, so that a request asks once in a few blocks. */
const MOST_SLACK_BLOCKS = 4;
/** Share of the pool that all leases together may run ahead: what they do keeps new requests out. */
const SLACK_SHARE = 1 / 16;

interface Resize {
  readonly id: string;
  readonly pages: number;
}

interface Change extends Resize {
  /** What is asked for where `pages` are refused. */
  readonly least: number;
}

/** Asks for resizes, all of a list at one time; goes on with whether all were granted, and ends with the same. */
type Round = Generator<readonly Resize[], boolean, boolean>;

/**
 * The leases of requests: taken over, kept ahead of what running requests hold, given back. When the ledger refuses,
 * waiting requests give theirs back first. What is refused even then is asked for again later: the pool alone decides
 * what may be held, the account in the ledger keeps new requests out.
 *
 * Only requests whose pages have changed are looked at, so that a step costs the same however much is held.
 */
export class Leases {
  /** The pages that the ledger has, or has been asked for, by request. */
  readonly #pages = new Map<string, number>();
  readonly #accepting = new Map<string, (error?: unknown) => void>();
  readonly #resizing = new Map<string, number>();
  #round: Round | undefined;
  #granted = true;
  #restUntilMs = 0;
  #slackPages = 0;
  /** Running requests that are to be looked at. */
  #due = new Set<string>();

  constructor(
    private readonly scheduler: Pick<Scheduler, 'running' | 'waiting' | 'pages' | 'pool' | 'takeChanged'>,
    private readonly pagesPerBlock: number,
    private readonly push: (effect: LeaseEffect) => void,
  ) {}

  /** Takes a lease over; `done` says with what outcome. */
  accept(id: string, lease: Lease, done: (error?: unknown) => void): void {
    this.#pages.set(id, lease.pages);
    this.#accepting.set(id, done);
    this.push({ kind: 'acceptLease', id, lease });
  }

  /** @param error why the lease is not this worker's to take */
  accepted(id: string, error?: unknown): void {
    if (error !== undefined) this.#pages.delete(id);
    const done = this.#accepting.get(id);
    this.#accepting.delete(id);
    done?.(error);
  }

  /** Gives a lease back; none is no error. */
  release(id: string): void {
    if (this.#pages.delete(id)) this.push({ kind: 'releaseLease', id });
  }

  /** Gives back a lease that was never taken over, such as one of a refused request. */
  decline(leaseId: string): void {
    this.push({ kind: 'declineLease', leaseId });
  }

  /** Call after every step. One round of resizes at a time, and none while a refusal is fresh. */
  balance(nowMs: number): void {
    for (const id of this.scheduler.takeChanged()) this.#due.add(id);
    if (this.#round || nowMs < this.#restUntilMs) return;
    const { running } = this.scheduler;
    const slack = this.#slack(running.length);
    const due = slack === this.#slackPages ? this.#due : running;
    this.#slackPages = slack;
    this.#due = new Set();
    const changes = [...due].map((id) => this.#change(id, slack)).filter((change) => change !== undefined);
    this.#round = this.#apply(changes);
    this.#resume(this.#round, nowMs);
  }

  resized(id: string, answer: ResizeAnswer, nowMs: number): void {
    const round = this.#round;
    const pages = this.#resizing.get(id);
    if (!round || pages === undefined) return;
    this.#resizing.delete(id);
    if (answer === 'set' && this.#pages.has(id)) this.#pages.set(id, pages);
    if (answer === 'unknown') this.#due.add(id);
    this.#granted &&= answer !== 'refused';
    if (this.#resizing.size === 0) this.#resume(round, nowMs);
  }

  #resume(round: Round, nowMs: number): void {
    const { value, done } = round.next(this.#granted);
    this.#granted = true;
    if (done) {
      this.#round = undefined;
      if (!value) this.#restUntilMs = nowMs + REST_MS;
      return;
    }
    for (const { id, pages } of value) {
      this.#resizing.set(id, pages);
      this.push({ kind: 'resizeLease', id, pages });
    }
  }

  *#apply(changes: readonly Change[]): Round {
    for (const { id, pages, least } of changes) {
      if (yield* this.#resize([{ id, pages }])) continue;
      if (yield* this.#resize([{ id, pages: least }])) continue;
      yield* this.#resize(this.scheduler.waiting.map((waiting) => ({ id: waiting, pages: 0 })));
      if (yield* this.#resize([{ id, pages: least }])) continue;
      for (const change of changes) this.#due.add(change.id);
      return false;
    }
    return true;
  }

  *#resize(wanted: readonly Resize[]): Generator<readonly Resize[], boolean, boolean> {
    const resizes = wanted.filter(({ id, pages }) => (this.#pages.get(id) ?? pages) !== pages);
    return resizes.length === 0 || (yield resizes);
  }

  #slack(running: number): number {
    const share = (this.scheduler.pool.capacityPages * SLACK_SHARE) / running / this.pagesPerBlock;
    return Math.min(MOST_SLACK_BLOCKS, Math.floor(share)) * this.pagesPerBlock;
  }

  #change(id: string, slack: number): Change | undefined {
    const leased = this.#pages.get(id);
    if (leased === undefined) return undefined;
    const { held, peak, prefilling, running } = this.scheduler.pages(id);
    if (!running) return undefined;
    const least = (prefilling ? Math.max(peak, held) : held) + this.pagesPerBlock;
    if (leased < least) return { id, pages: least + slack, least };
    // after the compression of its pictures a request needs far less than the router reserved
    if (leased > least + 2 * slack) return { id, pages: least + slack, least };
    return undefined;
  }
}
