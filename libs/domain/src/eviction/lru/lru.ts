import type { Evictable, EvictionPolicy } from '../policy.js';
import { Ranking } from '../ranking.js';

/** The longest unused first; see README.md. */
export class Lru<T extends Evictable> implements EvictionPolicy<T> {
  readonly #ranking = new Ranking<T>();
  #time = 0;

  insert(): void {
    // it has no rank before it is left
  }

  use(): void {
    // what counts is when it is left
  }

  leave(content: T): void {
    this.#ranking.set(content, ++this.#time);
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
  }
}
