import type { Evictable, EvictionPolicy } from '../policy.js';
import { Ranking } from '../ranking.js';

/** The least often used first; see README.md. */
export class Lfu<T extends Evictable> implements EvictionPolicy<T> {
  readonly #ranking = new Ranking<T>();
  readonly #uses = new Map<T, number>();
  #time = 0;

  insert(content: T): void {
    this.#uses.set(content, 1);
  }

  use(content: T): void {
    this.#uses.set(content, (this.#uses.get(content) ?? 0) + 1);
  }

  leave(content: T): void {
    this.#ranking.set(content, this.#uses.get(content) ?? 0, ++this.#time);
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
    this.#ranking.delete(content);
    this.#uses.delete(content);
  }
}
