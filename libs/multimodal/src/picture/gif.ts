/** The first frame of a GIF as its structure tells, without its pixels. */
interface GifFrame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  /** A graphic control names one of its colours as transparent. */
  readonly isTransparent: boolean;
  /** Of the frame's own table, or of the file's; black where there is neither. */
  readonly firstColour: readonly [number, number, number];
  /** Where its compressed pixels begin. */
  readonly dataAt: number;
}

const IMAGE = 0x2c;
const EXTENSION = 0x21;
const GRAPHIC_CONTROL = 0xf9;
const HEADER_BYTES = 13;
const DESCRIPTOR_BYTES = 10;

const colourTableBytes = (flags: number) => ((flags & 0x80) === 0 ? 0 : 3 * 2 ** ((flags & 7) + 1));

/** Position after a chain of sub-blocks, beyond the end if the chain is cut off. */
function skipSubBlocks(bytes: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return bytes.length + 1;
    at += 1 + length;
    if (length === 0) return at;
  }
}

function colourAt(bytes: Buffer, at: number): readonly [number, number, number] {
  return [bytes[at] ?? 0, bytes[at + 1] ?? 0, bytes[at + 2] ?? 0];
}

/** Undefined where the file ends before it. */
export function firstGifFrame(bytes: Buffer): GifFrame | undefined {
  const fileTable = colourTableBytes(bytes[10] ?? 0);
  let at = HEADER_BYTES + fileTable;
  let isTransparent = false;
  while (bytes[at] === EXTENSION) {
    if (bytes[at + 1] === GRAPHIC_CONTROL) isTransparent = ((bytes[at + 3] ?? 0) & 1) === 1;
    at = skipSubBlocks(bytes, at + 2);
  }
  if (bytes[at] !== IMAGE || at + DESCRIPTOR_BYTES > bytes.length) return undefined;
  const ownTable = colourTableBytes(bytes[at + 9] ?? 0);
  const tableAt = ownTable > 0 ? at + DESCRIPTOR_BYTES : HEADER_BYTES;
  return {
    left: bytes.readUInt16LE(at + 1),
    top: bytes.readUInt16LE(at + 3),
    width: bytes.readUInt16LE(at + 5),
    height: bytes.readUInt16LE(at + 7),
    isTransparent,
    firstColour: ownTable + fileTable > 0 ? colourAt(bytes, tableAt) : [0, 0, 0],
    dataAt: at + DESCRIPTOR_BYTES + ownTable + 1,
  };
}

/** Only the first frame is used, so only it must be there. */
export function isGifWhole(bytes: Buffer): boolean {
  const frame = firstGifFrame(bytes);
  return frame !== undefined && skipSubBlocks(bytes, frame.dataAt) <= bytes.length;
}

/**
 * Gives the canvas around an opaque frame the first colour of its table, as Pillow does; the decoder leaves it
 * black. `rgb` is [height, width, 3].
 */
export function fillAroundFrame(rgb: Uint8Array, width: number, bytes: Buffer): void {
  const frame = firstGifFrame(bytes);
  if (frame === undefined || frame.isTransparent) return;
  const { left, top, firstColour } = frame;
  const right = Math.min(left + frame.width, width);
  const bottom = top + frame.height;
  const height = rgb.length / 3 / width;
  const row = Buffer.alloc(3 * width, Buffer.from(firstColour));
  for (let y = 0; y < height; y += 1) {
    const isAside = y < top || y >= bottom || left >= right;
    const at = 3 * width * y;
    if (isAside) rgb.set(row, at);
    else {
      rgb.set(row.subarray(0, 3 * left), at);
      rgb.set(row.subarray(3 * right), at + 3 * right);
    }
  }
}
