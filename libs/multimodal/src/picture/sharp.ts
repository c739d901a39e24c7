import { availableParallelism } from 'node:os';
import PQueue from 'p-queue';
import sharp, { type Sharp } from 'sharp';

// Many pictures at a time share the cores better than one picture on all of them, and no request may be
// answered from what an earlier one left in a cache.
sharp.concurrency(1);
sharp.cache(false);

/** Bounds how many pictures are decoded at a time, and with them the memory they take. */
export const pictureWork = new PQueue({ concurrency: Math.max(2, availableParallelism()) });

/**
 * Opens encoded bytes. Profiles are ignored, as Pillow's `convert` does; a file that ends early is an error,
 * while harmless faults such as a spoilt EXIF block are not.
 */
export function openPicture(bytes: Uint8Array, maxPixels: number | false): Sharp {
  return sharp(bytes, { failOn: 'truncated', ignoreIcc: true, limitInputPixels: maxPixels });
}
