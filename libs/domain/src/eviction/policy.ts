/** What a policy may know of a piece of cached content. */
export interface Evictable {
  readonly name: string;
  /** The name of what it follows. */
  readonly parent: string;
  /** What it takes from the pool: its size. */
  readonly pages: number;
  readonly textTokens: number;
  readonly pictureTokens: number;
  /** Of its pages those that rows were compressed into. */
  readonly storedPages: number;
  /** Order of arrival, to break ties. */
  readonly serial: number;
}

/**
 * The order in which idle content goes. Pure: it is told what happens, and says which of those that may go is next.
 * Of each content it hears `insert` first, then `leave` when nobody uses it, `use` when a request finds it again, and
 * `evict` last. Between a `leave` and what follows, `offer` and `withdraw` say whether it may go: content that other
 * idle content follows may not. No verb costs more than O(log n), spread over the calls.
 */
export interface EvictionPolicy<T extends Evictable> {
  /** It came into the cache, in use by whoever computed it. */
  insert(content: T): void;
  /** A request begins with it: it was not computed again. */
  use(content: T): void;
  /** Nobody uses it from here on. */
  leave(content: T): void;
  /** It may go. Told again of what may go already, nothing changes. */
  offer(content: T): void;
  /** It may not go, as things stand. */
  withdraw(content: T): void;
  /** The next of those that may go; `undefined` when there is none. */
  victim(): T | undefined;
  /** It has gone: the last that is heard of it. */
  evict(content: T): void;
}
