// Pictures for benches whose answers need not make sense: each seed its own.
import { pngUri } from '../e2e/dist/harness.js';

/** A picture of 256 x 256 pixels, as a data URI. */
export function pictureOf(seed) {
  const pixels = Buffer.alloc(256 * 256 * 3);
  for (let at = 0; at < pixels.length; at += 1)
    pixels[at] = (Math.imul(seed + 1, 2654435761) >>> ((at >> 12) % 24)) ^ (at >> 7);
  return pngUri(pixels, 256, 256);
}
