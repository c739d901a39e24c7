import type { Scheduler } from '@kvcapsule/domain/scheduling';

import type { LeaseKeeper } from '../cluster/lease-keeper.js';

/** How long admission rests after the ledger refused to let running requests grow. */
const ADMISSION_REST_MS = 100;

/**
 * Keeps the leases of running requests ahead of what they hold. When the ledger refuses, waiting requests give
 * theirs back first; if that is not enough, the youngest running request is to be preempted.
 */
export class LeaseBalancer {
  #balancing = false;
  #pressed = false;
  #restUntilMs = 0;
  /** Pages that a lease runs ahead, so that a request asks once in a few blocks. */
  readonly #slack: number;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly leases: LeaseKeeper,
    private readonly pagesPerBlock: number,
    private readonly now: () => number = Date.now,
  ) {
    this.#slack = 4 * pagesPerBlock;
  }

  /** Whether waiting requests may start now. */
  get admits(): boolean {
    return this.now() >= this.#restUntilMs;
  }

  /** True once after every refusal that giving back waiting leases could not mend. */
  takePressure(): boolean {
    const pressed = this.#pressed;
    this.#pressed = false;
    return pressed;
  }

  /**
   * Call after every step. Asks the ledger in the background, one round at a time, and not again while a refusal
   * is fresh.
   */
  balance(): void {
    if (this.#balancing || !this.admits) return;
    const changes = this.scheduler.running.flatMap((key) => this.#change(key) ?? []);
    if (changes.length === 0) return;
    this.#balancing = true;
    void this.#apply(changes).finally(() => {
      this.#balancing = false;
    });
  }

  #change(key: string): { key: string; pages: number; least: number } | undefined {
    const leased = this.leases.pages(key);
    if (leased === undefined) return undefined;
    const { held, peak, prefilling } = this.scheduler.pages(key);
    const least = (prefilling ? Math.max(peak, held) : held) + this.pagesPerBlock;
    if (leased < least) return { key, pages: least + this.#slack, least };
    // after the compression of its pictures a request needs far less than the router reserved
    if (leased > least + 2 * this.#slack) return { key, pages: least + this.#slack, least };
    return undefined;
  }

  async #apply(changes: readonly { key: string; pages: number; least: number }[]): Promise<void> {
    for (const { key, pages, least } of changes) {
      if (await this.leases.resize(key, pages)) continue;
      if (await this.leases.resize(key, least)) continue;
      await Promise.all(this.scheduler.waiting.map((waiting) => this.leases.resize(waiting, 0)));
      if (await this.leases.resize(key, least)) continue;
      this.#pressed = true;
      this.#restUntilMs = this.now() + ADMISSION_REST_MS;
      return;
    }
  }
}
