import type { ContentName, PictureContent } from './content-name.js';
import {
  type ContentSegment,
  type ContentUnit,
  type NamedSequence,
  type TextRuns,
  UnitCutter,
} from './unit-cutter.js';

/** The names of a prompt, made once: a sequence that goes on from them works on a `fork`. */
export type NamedPrompt = Pick<ContentChain, 'root' | 'units' | 'fork'>;

/** Names of one sequence's content, unit by unit, as it grows. */
export class ContentChain {
  readonly #units: ContentUnit[];
  readonly #tokenIds: number[];
  readonly #sequence: NamedSequence;
  readonly #cutter: UnitCutter;

  /** @param pictures of the segments that are pictures, by their index */
  constructor(
    readonly root: ContentName,
    segments: readonly ContentSegment[],
    readonly pictures: readonly PictureContent[],
    tokenIds: readonly number[],
    readonly blockTokens: number,
    readonly runs?: TextRuns,
    begun?: Pick<ContentChain, 'units'> & { readonly cutter: UnitCutter },
  ) {
    this.#tokenIds = [...tokenIds];
    this.#sequence = { root, segments, pictures, tokenIds: this.#tokenIds, blockTokens, runs };
    this.#units = begun ? [...begun.units] : [];
    this.#cutter = begun ? begun.cutter.over(this.#sequence) : new UnitCutter(this.#sequence);
    this.#extend();
  }

  /** All complete units, in order and without a gap. */
  get units(): readonly ContentUnit[] {
    return this.#units;
  }

  /** The text at the end that no unit covers yet, less than a block or a run. */
  get tail(): readonly number[] {
    return this.#tokenIds.slice(this.#cutter.at);
  }

  /** Tokens `[start, end)`. */
  slice(start: number, end: number): readonly number[] {
    return this.#tokenIds.slice(start, end);
  }

  /** The same names in a chain of its own; nothing is hashed again. */
  fork(): ContentChain {
    const { root, segments, pictures, tokenIds, blockTokens, runs } = this.#sequence;
    const begun = { units: this.#units, cutter: this.#cutter };
    return new ContentChain(root, segments, pictures, tokenIds, blockTokens, runs, begun);
  }

  /** A token was generated. */
  push(token: number): void {
    this.#tokenIds.push(token);
    this.#extend();
  }

  #extend(): void {
    for (let unit = this.#cutter.next(); unit; unit = this.#cutter.next()) this.#units.push(unit);
  }
}
