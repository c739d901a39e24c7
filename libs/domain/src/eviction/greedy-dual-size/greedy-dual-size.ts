import type { Evictable, EvictionPolicy } from '../policy.js';
import { Ranking } from '../ranking.js';
import type { RebuildCost } from '../rebuild-costs.js';

/** Cheapest to rebuild per page first, aged; see README.md. */
export class GreedyDualSize<T extends Evictable> implements EvictionPolicy<T> {
  readonly #ranking = new Ranking<T>();
  #clock = 0;

  constructor(private readonly costOf: RebuildCost) {}

  insert(): void {
    // it has no rank before it is left
  }

  use(): void {
    // how often something is used does not count here
  }

  leave(content: T): void {
    this.#ranking.set(content, this.#clock + this.costOf(content) / content.pages);
  }

  offer(content: T): void {
    this.#ranking.offer(content);
  }

  withdraw(content: T): void {
    this.#ranking.withdraw(content);
  }

  victim(): T | undefined {
    return this.#ranking.first;
  }

  evict(content: T): void {
    this.#clock = Math.max(this.#clock, this.#ranking.rank(content));
    this.#ranking.delete(content);
  }
}
