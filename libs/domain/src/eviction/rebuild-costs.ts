import type { Evictable } from './policy.js';
import { SmoothedRate } from './smoothed-rate.js';

/** Seconds until content is there again. */
export type RebuildCost = (content: Evictable) => number;

/** Until a machine is measured: SmolVLM-500M on a few cores. */
const PREFILL_SECONDS = 1e-3;
/** Of prefill of a token: measured 2.7 (SmolVLM2-2.2B), 4.3 (SmolVLM-500M) and 13 (SmolVLM-256M). */
const TOWER_TOKENS = 4;
/** The same of a page of a capsule or a stored run, which holds two tokens or more. */
const COMPRESSED_TOKENS = 0.2;

/**
 * What it takes this machine to compute content again, in seconds: measured as it works, and assumed until it has.
 * Pure: whoever has a clock says what took how long.
 */
export class RebuildCosts {
  readonly #prefill = new SmoothedRate();
  readonly #tower = new SmoothedRate();
  readonly #compression = new SmoothedRate();

  /** So many tokens went through the decoder. */
  prefilled(tokens: number, seconds: number): void {
    this.#prefill.observe(tokens, seconds);
  }

  /** A picture of so many visual tokens went through the tower. */
  encoded(tokens: number, seconds: number): void {
    this.#tower.observe(tokens, seconds);
  }

  /** Rows were stored in so many pages. */
  compressed(pages: number, seconds: number): void {
    this.#compression.observe(pages, seconds);
  }

  get prefillSeconds(): number {
    return this.#prefill.value ?? PREFILL_SECONDS;
  }

  /** Of a visual token in the tower alone. */
  get towerSeconds(): number {
    return this.#tower.value ?? TOWER_TOKENS * this.prefillSeconds;
  }

  /** Of a page. */
  get compressionSeconds(): number {
    return this.#compression.value ?? COMPRESSED_TOKENS * this.prefillSeconds;
  }

  readonly of: RebuildCost = ({ textTokens, pictureTokens, storedPages }) =>
    this.prefillSeconds * (textTokens + pictureTokens) +
    this.towerSeconds * pictureTokens +
    this.compressionSeconds * storedPages;
}
