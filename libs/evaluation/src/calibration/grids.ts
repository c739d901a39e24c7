import type { PictureSpan } from '@kvcapsule/model';

/** Pictures of one grid. */
export interface Grid {
  /** As `2x4`: rows, then columns. */
  readonly name: string;
  /** Markers and image tokens. */
  readonly tokens: readonly number[];
  pictures: number;
}

/** Pictures of its own from which on a grid is fitted by itself. */
const ENOUGH_PICTURES = 64;

/** All grids that the model's pictures have, and how many pictures of each have been gathered. */
export class Grids {
  readonly #byTokens = new Map<number, Grid>();

  /** Of grids with the same number of tokens the first counts: statistics could not tell them apart. */
  constructor(spans: readonly PictureSpan[]) {
    for (const { rows, cols, tokenIds } of spans) {
      if (this.#byTokens.has(tokenIds.length)) continue;
      this.#byTokens.set(tokenIds.length, { name: `${rows}x${cols}`, tokens: [...tokenIds], pictures: 0 });
    }
  }

  /** @param counts tokens and pictures of each grid, as the engine tells them */
  resume(counts: Int32Array): void {
    for (let at = 0; at < counts.length; at += 2) {
      const grid = this.#byTokens.get(counts[at] ?? 0);
      if (grid !== undefined) grid.pictures = counts[at + 1] ?? 0;
    }
  }

  /** The grid of a picture; undefined for one whose statistics could not be told from another's. */
  find(picture: readonly number[]): Grid | undefined {
    const grid = this.#byTokens.get(picture.length);
    return grid?.tokens.every((token, row) => token === picture[row]) === true ? grid : undefined;
  }

  get all(): readonly Grid[] {
    return [...this.#byTokens.values()];
  }

  /** Those with pictures, most first, the larger of two first. */
  get seen(): readonly Grid[] {
    return this.all
      .filter(({ pictures }) => pictures > 0)
      .sort((a, b) => b.pictures - a.pictures || b.tokens.length - a.tokens.length);
  }

  /** Those that are fitted by themselves, most pictures first: the first in any case. */
  get fitted(): readonly Grid[] {
    return this.seen.filter(({ pictures }, at) => at === 0 || pictures >= ENOUGH_PICTURES);
  }

  get pictures(): number {
    return this.seen.reduce((sum, { pictures }) => sum + pictures, 0);
  }
}
