import { Ghosts } from '../ghosts.js';
import type { Evictable, EvictionPolicy } from '../policy.js';
import { Ranking } from '../ranking.js';

/** Share of the pages that is for content on probation. */
const SMALL_SHARE = 0.1;
const MOST_USES = 3;

type Queue = 'small' | 'main';

/** Two queues, and the names of what has gone from the first; see README.md. */
export class S3Fifo<T extends Evictable> implements EvictionPolicy<T> {
  /** By when it entered the queue. */
  readonly #queues = { small: new Ranking<T>(), main: new Ranking<T>() };
  readonly #pages = { small: 0, main: 0 };
  readonly #places = new Map<T, Queue>();
  readonly #uses = new Map<T, number>();
  readonly #ghosts = new Ghosts();
  #time = 0;

  insert(content: T): void {
    this.#uses.set(content, 0);
    this.#enter(content, this.#ghosts.take(content.name) ? 'main' : 'small');
  }

  use(content: T): void {
    this.#uses.set(content, Math.min(MOST_USES, (this.#uses.get(content) ?? 0) + 1));
  }

  leave(): void {
    // a queue is in the order of arrival
  }

  offer(content: T): void {
    this.#queueOf(content).offer(content);
  }

  withdraw(content: T): void {
    this.#queueOf(content).withdraw(content);
  }

  /** Content that was used meanwhile is moved on, each time at the price of one of its uses. */
  victim(): T | undefined {
    for (;;) {
      const queue = this.#next();
      const first = this.#queues[queue].first;
      if (!first) return undefined;
      const uses = this.#uses.get(first) ?? 0;
      if (queue === 'small' ? uses <= 1 : uses === 0) return first;
      this.#depart(first);
      this.#enter(first, 'main');
      this.#uses.set(first, queue === 'small' ? 0 : uses - 1);
      this.offer(first);
    }
  }

  evict(content: T): void {
    if (this.#places.get(content) === 'small') this.#ghosts.add(content.name, content.pages);
    this.#depart(content);
    this.#uses.delete(content);
    this.#ghosts.keep(this.#pages.small + this.#pages.main);
  }

  #next(): Queue {
    const { small, main } = this.#queues;
    if (!main.first) return 'small';
    if (!small.first) return 'main';
    return this.#pages.small >= SMALL_SHARE * (this.#pages.small + this.#pages.main) ? 'small' : 'main';
  }

  #enter(content: T, queue: Queue): void {
    this.#places.set(content, queue);
    this.#pages[queue] += content.pages;
    this.#queues[queue].set(content, ++this.#time);
  }

  #depart(content: T): void {
    const queue = this.#places.get(content) ?? 'small';
    this.#places.delete(content);
    this.#pages[queue] -= content.pages;
    this.#queues[queue].delete(content);
  }

  #queueOf(content: T): Ranking<T> {
    return this.#queues[this.#places.get(content) ?? 'small'];
  }
}
