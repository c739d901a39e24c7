import { KvcError } from '@kvcapsule/contracts';
import { fileTypeFromBuffer } from 'file-type';
import type { Metadata } from 'sharp';
import { type Container, type ImageFormat, readContainer, sniff } from './container.js';
import { openPicture, pictureWork } from './sharp.js';

/** What is known of a picture without decoding it. */
export interface ImageInfo {
  readonly format: ImageFormat;
  /** Upright size in pixels: a picture that EXIF turns by a quarter has its sides exchanged. */
  readonly width: number;
  readonly height: number;
}

const HEAD_BYTES = 1024;

function looksLikeSvg(bytes: Uint8Array): boolean {
  return /<svg[\s>]/i.test(Buffer.from(bytes.subarray(0, HEAD_BYTES)).toString('latin1'));
}

/** @throws KvcError IMAGE_INVALID when the bytes are no picture, IMAGE_UNSUPPORTED when of another format */
async function formatOf(bytes: Buffer, param: string): Promise<ImageFormat> {
  const format = sniff(bytes);
  if (format !== undefined) return format;
  // An end of file while sniffing leaves the type unknown.
  const type = await fileTypeFromBuffer(bytes).catch(() => undefined);
  const other = looksLikeSvg(bytes) ? 'image/svg+xml' : type?.mime;
  if (other !== undefined && other !== 'application/xml')
    throw new KvcError('IMAGE_UNSUPPORTED', `pictures of type ${other} are not taken`, { param });
  throw new KvcError('IMAGE_INVALID', 'the data is not a picture', { param });
}

export interface InspectOptions {
  readonly param: string;
  readonly maxPixels: number;
}

/** The longest side that the engine takes, in pixels. */
export const MAX_SIDE_PX = 32_768;

/** Pixels are counted by ourselves, so that a picture that is too large is told from one that is broken. */
async function readMetadata(bytes: Uint8Array, param: string): Promise<Metadata> {
  try {
    return await openPicture(bytes, false).metadata();
  } catch (cause) {
    throw new KvcError('IMAGE_INVALID', 'the picture cannot be read', { param, cause });
  }
}

type Size = NonNullable<Container['size']>;

function checkSize({ width, height }: Size, { param, maxPixels }: InspectOptions): void {
  const isLong = Math.max(width, height) > MAX_SIDE_PX;
  if (width * height <= maxPixels && !isLong) return;
  const limit = isLong ? `more than ${MAX_SIDE_PX} on a side` : `more than ${maxPixels} in all`;
  const message = `the picture has ${width} x ${height} pixels, ${limit}`;
  throw new KvcError('IMAGE_TOO_LARGE', message, { param });
}

interface Sniffed extends Container {
  readonly format: ImageFormat;
}

async function readHeader(bytes: Buffer, param: string): Promise<Sniffed> {
  if (bytes.length === 0) throw new KvcError('IMAGE_INVALID', 'the picture is empty', { param });
  const format = await formatOf(bytes, param);
  return { format, ...readContainer(bytes, format) };
}

/** By the decoder's library: for files whose header does not tell, and before decoding. */
async function inspectByDecoder(
  bytes: Buffer,
  { format, isWhole }: Sniffed,
  options: InspectOptions,
): Promise<ImageInfo & { space: string }> {
  const { param } = options;
  const metadata = await readMetadata(bytes, param);
  checkSize(metadata, options);
  if (!isWhole) throw new KvcError('IMAGE_INVALID', 'the picture is cut off', { param });
  const { width, height } = metadata.autoOrient;
  return { format, width, height, space: metadata.space };
}

export const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * Finds format and upright size of a picture and refuses what cannot be used, before any pixel is decoded. Most
 * files' headers tell it in microseconds.
 *
 * @throws KvcError IMAGE_INVALID, IMAGE_UNSUPPORTED, IMAGE_TOO_LARGE
 */
export async function inspectImage(bytes: Uint8Array, options: InspectOptions): Promise<ImageInfo> {
  const buffer = asBuffer(bytes);
  const header = await readHeader(buffer, options.param);
  if (header.size === undefined || !header.isWhole) {
    const { format, width, height } = await pictureWork.add(() => inspectByDecoder(buffer, header, options));
    return { format, width, height };
  }
  checkSize(header.size, options);
  return { format: header.format, ...header.size };
}

/** The same, for work that already holds its place among the pictures, with the colour space of the file. */
export async function inspectForDecoding(
  bytes: Buffer,
  options: InspectOptions,
): Promise<ImageInfo & { space: string }> {
  return inspectByDecoder(bytes, await readHeader(bytes, options.param), options);
}
