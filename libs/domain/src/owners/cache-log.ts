import { CacheReader } from './cache-reader.js';
import type { CacheChange, CachedItem, CachedItems, CachedKind } from './cached-item.js';
import { ExpectedNames } from './expected-names.js';

/** Changes that are kept for who falls behind: about 200 bytes each. */
const KEPT_CHANGES = 16_384;

/**
 * What comes into a worker's caches and what leaves them, numbered from 1, and what its requests are about to store. The
 * newest changes are kept from the first reader on; before that a change costs a count.
 */
export class CacheLog {
  #sequence = 0;
  /** The change with number n stands at n modulo its length. */
  #kept: CacheChange[] | undefined;
  /** The number of the oldest change that is kept. */
  #oldest = 1;
  readonly #sources: CachedItems[] = [];
  readonly #expected = new ExpectedNames();
  readonly #listeners = new Set<() => void>();

  constructor(private readonly capacity = KEPT_CHANGES) {}

  /** The newest change's number. */
  get sequence(): number {
    return this.#sequence;
  }

  /** A cache that writes here says what it holds. */
  addSource(items: CachedItems): void {
    this.#sources.push(items);
  }

  /** Called when something is expected, which others are to know at once. Returns how that ends. */
  onExpected(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  stored(name: string, kind: CachedKind, tokens: number, pages: number): void {
    this.#add({ kind: 'stored', item: { name, kind, tokens, pages } });
    for (const before of this.#expected.arrived(name)) this.#add({ kind: 'withdrawn', name: before });
  }

  removed(name: string): void {
    this.#add({ kind: 'removed', name });
  }

  /**
   * A request was taken in that is about to store these names.
   * @param chains of names that are stored one after the other
   */
  expected(requestId: string, chains: readonly (readonly string[])[]): void {
    const fresh = this.#expected.expect(requestId, chains);
    for (const name of fresh) this.#add({ kind: 'coming', name });
    if (fresh.length > 0) for (const listener of this.#listeners) listener();
  }

  /** A request has ended: what it has not stored comes no more, unless another one stores it. */
  ended(requestId: string): void {
    for (const name of this.#expected.ended(requestId)) this.#add({ kind: 'withdrawn', name });
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

  /** What all caches hold, and what is about to be there. */
  *changes(): Generator<CacheChange, undefined> {
    for (const item of this.items()) yield { kind: 'stored', item };
    for (const name of this.#expected) yield { kind: 'coming', name };
    return undefined;
  }

  #add(change: CacheChange): void {
    this.#sequence += 1;
    if (!this.#kept) return;
    this.#kept[this.#sequence % this.capacity] = change;
    this.#oldest = Math.max(this.#oldest, this.#sequence - this.capacity + 1);
  }
}
