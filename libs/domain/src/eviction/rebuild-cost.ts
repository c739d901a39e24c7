import type { Evictable } from './policy.js';

/** A picture's tokens are made by the tower and computed again, so they cost about twice as much as text. */
const PICTURE_TOKEN_COST = 2;

/** What it takes to compute content again, in tokens of text. */
export function rebuildCost({ textTokens, pictureTokens }: Evictable): number {
  return textTokens + PICTURE_TOKEN_COST * pictureTokens;
}
