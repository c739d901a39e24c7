/**
 * Finds out from the structure of a file, without decoding a pixel, whether it was cut off. A damaged file
 * whose structure is whole is left to the decoder.
 */

function isPngWhole(bytes: Buffer): boolean {
  let at = 8;
  while (at + 12 <= bytes.length) {
    const isEnd = bytes.toString('latin1', at + 4, at + 8) === 'IEND';
    at += 12 + bytes.readUInt32BE(at);
    if (isEnd) return at <= bytes.length;
  }
  return false;
}

const JPEG_START_OF_SCAN = 0xda;
const JPEG_END = Buffer.from([0xff, 0xd9]);

function isJpegWhole(bytes: Buffer): boolean {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1] ?? 0;
    if (marker === JPEG_START_OF_SCAN) return bytes.includes(JPEG_END, at + 2);
    // A marker may be preceded by any number of fill bytes.
    at += marker === 0xff ? 1 : 2 + bytes.readUInt16BE(at + 2);
  }
  // Where the segments do not lead to a scan the decoder has the word, if there is anything left to decode.
  return at + 4 <= bytes.length;
}

function isWebpWhole(bytes: Buffer): boolean {
  return bytes.length >= 12 && 8 + bytes.readUInt32LE(4) <= bytes.length;
}

const colourTableBytes = (flags: number) => ((flags & 0x80) === 0 ? 0 : 3 * 2 ** ((flags & 7) + 1));

/** Position after a chain of GIF sub-blocks, beyond the end if the chain is cut off. */
function skipSubBlocks(bytes: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return bytes.length + 1;
    at += 1 + length;
    if (length === 0) return at;
  }
}

const GIF_IMAGE = 0x2c;
const GIF_EXTENSION = 0x21;

/** Only the first frame is used, so only it must be there. */
function isGifWhole(bytes: Buffer): boolean {
  let at = 13 + colourTableBytes(bytes[10] ?? 0);
  while (bytes[at] === GIF_EXTENSION) at = skipSubBlocks(bytes, at + 2);
  if (bytes[at] !== GIF_IMAGE) return false;
  return skipSubBlocks(bytes, at + 11 + colourTableBytes(bytes[at + 9] ?? 0)) <= bytes.length;
}

const CHECKS = { png: isPngWhole, jpeg: isJpegWhole, webp: isWebpWhole, gif: isGifWhole };

export type ImageFormat = keyof typeof CHECKS;

export function isWhole(bytes: Uint8Array, format: ImageFormat): boolean {
  return CHECKS[format](Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}
