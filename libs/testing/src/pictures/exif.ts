import { pngChunk } from './png.js';

const ORIENTATION_TAG = 0x0112;
const TYPE_SHORT = 3;

/** A TIFF block with nothing but an orientation, as EXIF stores it. */
export function orientationBlock(orientation: number, byteOrder: 'big' | 'little'): Buffer {
  const block = Buffer.alloc(26);
  const short = (value: number, at: number) =>
    byteOrder === 'big' ? block.writeUInt16BE(value, at) : block.writeUInt16LE(value, at);
  const long = (value: number, at: number) =>
    byteOrder === 'big' ? block.writeUInt32BE(value, at) : block.writeUInt32LE(value, at);
  block.write(byteOrder === 'big' ? 'MM' : 'II', 0, 'latin1');
  short(42, 2);
  long(8, 4);
  short(1, 8);
  short(ORIENTATION_TAG, 10);
  short(TYPE_SHORT, 12);
  long(1, 14);
  short(orientation, 18);
  return block;
}

/** Puts an APP1 segment with this content behind the start of a JPEG. */
export function withJpegExif(jpeg: Uint8Array, block: Uint8Array): Buffer {
  const content = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), block]);
  const head = Buffer.from([0xff, 0xe1, 0, 0]);
  head.writeUInt16BE(content.length + 2, 2);
  return Buffer.concat([jpeg.subarray(0, 2), head, content, jpeg.subarray(2)]);
}

const PNG_HEADER_END = 33;

/** Puts an eXIf chunk with this content behind the header of a PNG. */
export function withPngExif(png: Uint8Array, block: Uint8Array): Buffer {
  return Buffer.concat([
    png.subarray(0, PNG_HEADER_END),
    pngChunk('eXIf', block),
    png.subarray(PNG_HEADER_END),
  ]);
}

function riffChunk(type: string, data: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.write(type, 'latin1');
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
}

const EXIF_FLAG = 0x08;

/** Turns a plain WebP file of this size into an extended one with an EXIF chunk. */
export function withWebpExif(webp: Uint8Array, block: Uint8Array, width: number, height: number): Buffer {
  const extension = Buffer.alloc(10);
  extension[0] = EXIF_FLAG;
  extension.writeUIntLE(width - 1, 4, 3);
  extension.writeUIntLE(height - 1, 7, 3);
  const body = Buffer.concat([
    Buffer.from('WEBP', 'latin1'),
    riffChunk('VP8X', extension),
    webp.subarray(12),
    riffChunk('EXIF', block),
  ]);
  const head = Buffer.alloc(8);
  head.write('RIFF', 'latin1');
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body]);
}

export interface Pixels {
  /** [height, width, 3] */
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Where the pixel (x, y) of an upright picture of width w and height h is stored, by orientation. */
const STORED_AT: Readonly<Record<number, (x: number, y: number, w: number, h: number) => [number, number]>> =
  {
    1: (x, y) => [x, y],
    2: (x, y, w) => [w - 1 - x, y],
    3: (x, y, w, h) => [w - 1 - x, h - 1 - y],
    4: (x, y, _w, h) => [x, h - 1 - y],
    5: (x, y) => [y, x],
    6: (x, y, w) => [y, w - 1 - x],
    7: (x, y, w, h) => [h - 1 - y, w - 1 - x],
    8: (x, y, _w, h) => [h - 1 - y, x],
  };

/** The pixels that a camera would have stored for an upright picture under an orientation from 1 to 8. */
export function storedTurned({ rgb, width, height }: Pixels, orientation: number): Pixels {
  const place = STORED_AT[orientation];
  if (place === undefined) throw new RangeError(`no such orientation: ${orientation}`);
  const isQuarterTurned = orientation >= 5;
  const storedWidth = isQuarterTurned ? height : width;
  const stored = new Uint8Array(rgb.length);
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) {
      const [storedX, storedY] = place(x, y, width, height);
      const from = 3 * (y * width + x);
      stored.set(rgb.subarray(from, from + 3), 3 * (storedY * storedWidth + storedX));
    }
  return { rgb: stored, width: storedWidth, height: isQuarterTurned ? width : height };
}
