import { pagesOf, type SizeCode, tokensOf } from './content-size.js';
import { type Owners, soleOwner } from './owner-sets.js';

/** What a worker's caches hold of its pool, as far as names are known. */
export interface Holding {
  readonly pages: number;
  /** Tokens of content that nobody else holds. */
  readonly lastCopyTokens: number;
}

const NOTHING: Holding = { pages: 0, lastCopyTokens: 0 };

/** Sums over what each worker holds, kept with each change, so that a decision reads them without a look at names. */
export class Holdings {
  /** By the worker's number. */
  readonly #holdings: { pages: number; lastCopyTokens: number }[] = [];

  of(owner: number): Holding {
    return this.#holdings[owner] ?? NOTHING;
  }

  begin(owner: number): void {
    this.#holdings[owner] = { ...NOTHING };
  }

  /** A name of that size came to the worker, or with `sign` −1 left it. */
  count(owner: number, size: SizeCode, sign: 1 | -1): void {
    const holding = this.#holdings[owner];
    if (holding) holding.pages += sign * pagesOf(size);
  }

  /** A name of that size has other owners than before. */
  moved(before: Owners, after: Owners, size: SizeCode): void {
    this.#countSole(before, size, -1);
    this.#countSole(after, size, 1);
  }

  #countSole(owners: Owners, size: SizeCode, sign: 1 | -1): void {
    const holding = this.#holdings[soleOwner(owners) ?? -1];
    if (holding) holding.lastCopyTokens += sign * tokensOf(size);
  }
}
