import type { Evictable, EvictionPolicy } from '../policy.js';
import { Ranking } from '../ranking.js';
import type { RebuildCost } from '../rebuild-costs.js';

/** Greedy-dual-size with frequency; see README.md. */
export class Gdsf<T extends Evictable> implements EvictionPolicy<T> {
  readonly #ranking = new Ranking<T>();
  readonly #uses = new Map<T, number>();
  #clock = 0;

  constructor(private readonly costOf: RebuildCost) {}

  insert(content: T): void {
    this.#uses.set(content, 1);
  }

  use(content: T): void {
    this.#uses.set(content, (this.#uses.get(content) ?? 0) + 1);
  }

  leave(content: T): void {
    const uses = this.#uses.get(content) ?? 0;
    this.#ranking.set(content, this.#clock + (uses * this.costOf(content)) / content.pages);
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
    this.#uses.delete(content);
  }
}
