import { CacheReader } from './cache-reader.js';
import type { CacheChange, CachedItem, CachedItems, CachedKind } from './cached-item.js';

/** Changes that are kept for who falls behind: about 200 bytes each. */
const KEPT_CHANGES = 16_384;

/**
 * What comes into a worker's caches and what leaves them, numbered from 1. The newest changes are kept from the first
 * reader on; before that a change costs a count.
 */
export class CacheLog {
  #sequence = 0;
  /** The change with number n stands at n modulo its length. */
  #kept: CacheChange[] | undefined;
  /** The number of the oldest change that is kept. */
  #oldest = 1;
  readonly #sources: CachedItems[] = [];

  constructor(private readonly capacity = KEPT_CHANGES) {}

  /** The newest change's number. */
  get sequence(): number {
    return this.#sequence;
  }

  /** A cache that writes here says what it holds. */
  addSource(items: CachedItems): void {
    this.#sources.push(items);
  }

  stored(name: string, kind: CachedKind, tokens: number, pages: number): void {
    this.#sequence += 1;
    if (this.#kept) this.#keep({ kind: 'stored', item: { name, kind, tokens, pages } });
  }

  removed(name: string): void {
    this.#sequence += 1;
    if (this.#kept) this.#keep({ kind: 'removed', name });
  }

  /** @param after the last change that is known; undefined, or one that is kept no more: it begins with all there is */
  read(after?: number): CacheReader {
    if (!this.#kept) {
      this.#kept = [];
      this.#oldest = this.#sequence + 1;
    }
    return new CacheReader(this, after);
  }

  /** At most so many changes after that one, in their order; undefined when some of them are kept no more. */
  since(after: number, most: number): CacheChange[] | undefined {
    const kept = this.#kept ?? [];
    if (after + 1 < this.#oldest || after > this.#sequence) return undefined;
    const count = Math.min(most, this.#sequence - after);
    return Array.from({ length: count }, (_, at) => kept[(after + 1 + at) % this.capacity]!);
  }

  /** What all caches hold. */
  *items(): Generator<CachedItem, undefined> {
    for (const source of this.#sources) {
      const items = source();
      for (let next = items.next(); !next.done; next = items.next()) yield next.value;
    }
    return undefined;
  }

  #keep(change: CacheChange): void {
    const kept = this.#kept ?? [];
    kept[this.#sequence % this.capacity] = change;
    this.#oldest = Math.max(this.#oldest, this.#sequence - this.capacity + 1);
  }
}
