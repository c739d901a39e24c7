import { Heap } from './heap.js';
import type { Evictable } from './policy.js';

interface Rank {
  readonly rank: number;
  readonly time: number;
}

const LEAST: Rank = { rank: 0, time: 0 };

/** What may go, the least rank first. A rank changes only while its content may not go. */
export class Ranking<T extends Evictable> {
  readonly #ranks = new Map<T, Rank>();
  readonly #offered = new Heap<T>((a, b) => this.#before(a, b));

  /** Of all content that has a rank. */
  get size(): number {
    return this.#ranks.size;
  }

  rank(content: T): number {
    return this.#of(content).rank;
  }

  /** @param time of those with equal ranks, the least goes first */
  set(content: T, rank: number, time = 0): void {
    this.#ranks.set(content, { rank, time });
  }

  offer(content: T): void {
    this.#offered.push(content);
  }

  withdraw(content: T): void {
    this.#offered.delete(content);
  }

  get first(): T | undefined {
    return this.#offered.first;
  }

  delete(content: T): void {
    this.#offered.delete(content);
    this.#ranks.delete(content);
  }

  #of(content: T): Rank {
    return this.#ranks.get(content) ?? LEAST;
  }

  /** The latest to arrive of equals goes first: it is the furthest from the beginning of its text. */
  #before(a: T, b: T): boolean {
    const [first, second] = [this.#of(a), this.#of(b)];
    return (first.rank - second.rank || first.time - second.time || b.serial - a.serial) < 0;
  }
}
