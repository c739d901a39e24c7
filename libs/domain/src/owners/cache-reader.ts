import type { CacheChange } from './cached-item.js';

/** Where a reader reads. */
interface Log {
  /** The newest change's number. */
  readonly sequence: number;
  /** At most so many changes after that one, in their order; undefined when some of them are kept no more. */
  since(after: number, most: number): CacheChange[] | undefined;
  /** All that is held, and all that is coming. */
  changes(): Iterator<CacheChange, undefined>;
}

/** The next of what a reader is told; in their order they give exactly what the worker holds. */
export interface CacheBatch {
  /** All that was told before is void. */
  readonly cleared: boolean;
  /** Everything that is held has been told: who comes again may go on after `sequence`. */
  readonly complete: boolean;
  /** The newest change that is in here or was before. */
  readonly sequence: number;
  readonly changes: readonly CacheChange[];
}

/**
 * One router's place in a worker's log. Who begins, or has fallen behind what is kept, is told all that is held, piece
 * by piece, with the changes that come meanwhile between the pieces: a piece is read when every change before it has
 * been told, so that whatever is said last of a name is true.
 */
export class CacheReader {
  #at: number;
  #isNew: boolean;
  /** What is left to tell of all that is held. */
  #items: Iterator<CacheChange, undefined> | undefined;
  #gaps = 0;

  constructor(
    private readonly log: Log,
    after: number | undefined,
  ) {
    this.#at = after ?? 0;
    this.#isNew = after === undefined;
  }

  /** The newest change that it has told. */
  get sequence(): number {
    return this.#at;
  }

  /** How often it had fallen behind. */
  get gaps(): number {
    return this.#gaps;
  }

  /** Whether everything that is held has been told, but for changes since. */
  get isComplete(): boolean {
    return !this.#isNew && !this.#items;
  }

  /** At most so many changes; undefined when there is nothing to tell. */
  next(most: number): CacheBatch | undefined {
    const since = this.#isNew ? undefined : this.log.since(this.#at, most);
    if (!since) return this.#begin(most);
    this.#at += since.length;
    const wasComplete = this.isComplete;
    const changes = [...since, ...this.#take(most - since.length)];
    const completes = !wasComplete && this.isComplete;
    return changes.length > 0 || completes ? this.#batch(false, changes) : undefined;
  }

  #begin(most: number): CacheBatch {
    if (!this.#isNew) this.#gaps += 1;
    this.#isNew = false;
    this.#at = this.log.sequence;
    this.#items = this.log.changes();
    return this.#batch(true, this.#take(most));
  }

  #batch(cleared: boolean, changes: readonly CacheChange[]): CacheBatch {
    return { cleared, complete: this.isComplete, sequence: this.#at, changes };
  }

  #take(most: number): CacheChange[] {
    const taken: CacheChange[] = [];
    while (this.#items && this.#at === this.log.sequence && taken.length < most) {
      const { done, value } = this.#items.next();
      if (done) this.#items = undefined;
      else taken.push(value);
    }
    return taken;
  }
}
