import type { Scheduler } from '@kvcapsule/domain/scheduling';

import type { LeaseKeeper } from '../cluster/lease-keeper.js';

/** How long the ledger is left alone after it refused to let running requests grow. */
const REST_MS = 100;
/** Blocks that a lease runs ahead at most, so that a request asks once in a few blocks. */
const MOST_SLACK_BLOCKS = 4;
/** Share of the pool that all leases together may run ahead: what they do keeps new requests out. */
const SLACK_SHARE = 1 / 16;

/**
 * Keeps the leases of running requests ahead of what they hold. When the ledger refuses, waiting requests give
 * theirs back first. What is refused even then is asked for again later: the pool alone decides what may be held,
 * the account in the ledger keeps new requests out.
 */
export class LeaseBalancer {
  #balancing = false;
  #restUntilMs = 0;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly leases: LeaseKeeper,
    private readonly pagesPerBlock: number,
    private readonly now: () => number = Date.now,
  ) {}

  /**
   * Call after every step. Asks the ledger in the background, one round at a time, and not again while a refusal
   * is fresh.
   */
  balance(): void {
    if (this.#balancing || this.now() < this.#restUntilMs) return;
    const { running } = this.scheduler;
    const slack = this.#slack(running.length);
    const changes = running.flatMap((key) => this.#change(key, slack) ?? []);
    if (changes.length === 0) return;
    this.#balancing = true;
    void this.#apply(changes).finally(() => {
      this.#balancing = false;
    });
  }

  #slack(running: number): number {
    const share = (this.scheduler.pool.capacityPages * SLACK_SHARE) / running / this.pagesPerBlock;
    return Math.min(MOST_SLACK_BLOCKS, Math.floor(share)) * this.pagesPerBlock;
  }

  #change(key: string, slack: number): { key: string; pages: number; least: number } | undefined {
    const leased = this.leases.pages(key);
    if (leased === undefined) return undefined;
    const { held, peak, prefilling } = this.scheduler.pages(key);
    const least = (prefilling ? Math.max(peak, held) : held) + this.pagesPerBlock;
    if (leased < least) return { key, pages: least + slack, least };
    // after the compression of its pictures a request needs far less than the router reserved
    if (leased > least + 2 * slack) return { key, pages: least + slack, least };
    return undefined;
  }

  async #apply(changes: readonly { key: string; pages: number; least: number }[]): Promise<void> {
    for (const { key, pages, least } of changes) {
      if (await this.leases.resize(key, pages)) continue;
      if (await this.leases.resize(key, least)) continue;
      await Promise.all(this.scheduler.waiting.map((waiting) => this.leases.resize(waiting, 0)));
      if (await this.leases.resize(key, least)) continue;
      this.#restUntilMs = this.now() + REST_MS;
      return;
    }
  }
}
