import { isGifWhole } from './gif.js';

/**
 * What the structure of a file tells without decoding a pixel: whether it was cut off, and, where nothing in the
 * file could turn the picture, its size. A damaged file whose structure is whole is left to the decoder.
 */
export interface Container {
  readonly isWhole: boolean;
  /** Undefined where only the decoder can tell: EXIF may exchange the sides, or the header is unusual. */
  readonly size: { readonly width: number; readonly height: number } | undefined;
}

const CUT: Container = { isWhole: false, size: undefined };
const ASK_DECODER: Container = { isWhole: true, size: undefined };

/** A file with more chunks or segments than any writer makes is left to the decoder, which is off the event loop. */
const MAX_STEPS = 100_000;

const PNG_IHDR = 0x49484452;
const PNG_IEND = 0x49454e44;
/** `eXIf`, and the texts that some writers hide EXIF in. */
const PNG_TURNING = new Set([0x65584966, 0x74455874, 0x7a545874, 0x69545874]);

function readPng(bytes: Buffer): Container {
  const isUsual = bytes.length >= 24 && bytes.readUInt32BE(12) === PNG_IHDR;
  let size = isUsual ? { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) } : undefined;
  let at = 8;
  for (let step = 0; at + 12 <= bytes.length; step += 1) {
    if (step === MAX_STEPS) return ASK_DECODER;
    const type = bytes.readUInt32BE(at + 4);
    if (PNG_TURNING.has(type)) size = undefined;
    at += 12 + bytes.readUInt32BE(at);
    if (type === PNG_IEND) return at <= bytes.length ? { isWhole: true, size } : CUT;
  }
  return CUT;
}

const JPEG_START_OF_SCAN = 0xda;
const JPEG_APP1 = 0xe1;
const JPEG_END = Buffer.from([0xff, 0xd9]);
/** Start of frame: C0 to CF but for tables of Huffman codes, of arithmetic coding, and a reserved one. */
const isFrame = (marker: number) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);

function readJpeg(bytes: Buffer): Container {
  let size: Container['size'];
  let isTurning = false;
  let at = 2;
  for (let step = 0; at + 4 <= bytes.length && bytes[at] === 0xff; step += 1) {
    if (step === MAX_STEPS) return ASK_DECODER;
    const marker = bytes[at + 1] ?? 0;
    // From the end, where it stands in a whole file.
    if (marker === JPEG_START_OF_SCAN)
      return bytes.lastIndexOf(JPEG_END) > at ? { isWhole: true, size: isTurning ? undefined : size } : CUT;
    if (marker === JPEG_APP1) isTurning = true;
    if (isFrame(marker) && at + 9 <= bytes.length)
      size = { height: bytes.readUInt16BE(at + 5), width: bytes.readUInt16BE(at + 7) };
    // A marker may be preceded by any number of fill bytes.
    at += marker === 0xff ? 1 : 2 + bytes.readUInt16BE(at + 2);
  }
  // Where the segments do not lead to a scan the decoder has the word, if there is anything left to decode.
  return at + 4 <= bytes.length ? ASK_DECODER : CUT;
}

const WEBP_EXIF = 0x08;

function webpSize(bytes: Buffer): Container['size'] {
  if (bytes.length < 30) return undefined;
  switch (bytes.toString('latin1', 12, 16)) {
    case 'VP8X':
      if (((bytes[20] ?? 0) & WEBP_EXIF) !== 0) return undefined;
      return { width: 1 + bytes.readUIntLE(24, 3), height: 1 + bytes.readUIntLE(27, 3) };
    case 'VP8L': {
      const bits = bytes.readUInt32LE(21);
      return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >> 14) & 0x3fff) };
    }
    case 'VP8 ':
      return { width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff };
    default:
      return undefined;
  }
}

function readWebp(bytes: Buffer): Container {
  const isWhole = bytes.length >= 12 && 8 + bytes.readUInt32LE(4) <= bytes.length;
  return isWhole ? { isWhole, size: webpSize(bytes) } : CUT;
}

/** Later frames may reach beyond the screen that the header states, so the decoder tells the size. */
const readGif = (bytes: Buffer): Container => (isGifWhole(bytes) ? ASK_DECODER : CUT);

const READERS = { png: readPng, jpeg: readJpeg, webp: readWebp, gif: readGif };

export type ImageFormat = keyof typeof READERS;

export function readContainer(bytes: Buffer, format: ImageFormat): Container {
  const container = READERS[format](bytes);
  const { size } = container;
  return size && size.width * size.height === 0 ? { ...container, size: undefined } : container;
}

/** The format by its first bytes; undefined for another one. */
export function sniff(bytes: Buffer): ImageFormat | undefined {
  const start = bytes.toString('latin1', 0, 12);
  if (start.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (start.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (start.startsWith('RIFF') && start.endsWith('WEBP')) return 'webp';
  return start.startsWith('GIF8') ? 'gif' : undefined;
}

const WEBP_ALPHA = 0x10;

/**
 * Whether a WebP's frames are to be taken as opaque: an extended header without its flag of alpha says so, even
 * where a frame is smaller than the canvas or has an alpha of its own.
 */
export function isOpaqueWebp(bytes: Buffer): boolean {
  return (
    bytes.length > 20 && bytes.toString('latin1', 12, 16) === 'VP8X' && ((bytes[20] ?? 0) & WEBP_ALPHA) === 0
  );
}
