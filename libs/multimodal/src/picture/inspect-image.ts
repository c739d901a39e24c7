import { KvcError } from '@kvcapsule/contracts';
import { fileTypeFromBuffer } from 'file-type';
import type { Metadata } from 'sharp';
import { type ImageFormat, isWhole } from './container.js';
import { openPicture, pictureWork } from './sharp.js';

/** What is known of a picture without decoding it. */
export interface ImageInfo {
  readonly format: ImageFormat;
  /** Upright size in pixels: a picture that EXIF turns by a quarter has its sides exchanged. */
  readonly width: number;
  readonly height: number;
}

const FORMATS: Readonly<Record<string, ImageFormat>> = {
  'image/png': 'png',
  'image/apng': 'png',
  'image/jpeg': 'jpeg',
  'image/webp': 'webp',
  'image/gif': 'gif',
};

const HEAD_BYTES = 1024;

function looksLikeSvg(bytes: Uint8Array): boolean {
  return /<svg[\s>]/i.test(Buffer.from(bytes.subarray(0, HEAD_BYTES)).toString('latin1'));
}

/** @throws KvcError IMAGE_INVALID when the bytes are no picture, IMAGE_UNSUPPORTED when of another format */
async function formatOf(bytes: Uint8Array, param: string): Promise<ImageFormat> {
  // An end of file while sniffing leaves the type unknown.
  const type = await fileTypeFromBuffer(bytes).catch(() => undefined);
  const format = type && FORMATS[type.mime];
  if (format !== undefined) return format;
  const other = looksLikeSvg(bytes) ? 'image/svg+xml' : type?.mime;
  if (other !== undefined && other !== 'application/xml')
    throw new KvcError('IMAGE_UNSUPPORTED', `pictures of type ${other} are not taken`, { param });
  throw new KvcError('IMAGE_INVALID', 'the data is not a picture', { param });
}

export interface InspectOptions {
  readonly param: string;
  readonly maxPixels: number;
}

/** Pixels are counted by ourselves, so that a picture that is too large is told from one that is broken. */
async function readMetadata(bytes: Uint8Array, param: string): Promise<Metadata> {
  try {
    return await openPicture(bytes, false).metadata();
  } catch (cause) {
    throw new KvcError('IMAGE_INVALID', 'the picture cannot be read', { param, cause });
  }
}

async function inspect(
  bytes: Uint8Array,
  { param, maxPixels }: InspectOptions,
): Promise<ImageInfo & { space: string }> {
  if (bytes.length === 0) throw new KvcError('IMAGE_INVALID', 'the picture is empty', { param });
  const format = await formatOf(bytes, param);
  const metadata = await readMetadata(bytes, param);
  if (metadata.width * metadata.height > maxPixels)
    throw new KvcError(
      'IMAGE_TOO_LARGE',
      `the picture has ${metadata.width} x ${metadata.height} pixels, more than ${maxPixels} in all`,
      { param },
    );
  if (!isWhole(bytes, format)) throw new KvcError('IMAGE_INVALID', 'the picture is cut off', { param });
  const { width, height } = metadata.autoOrient;
  return { format, width, height, space: metadata.space };
}

/**
 * Finds format and upright size of a picture and refuses what cannot be used, before any pixel is decoded.
 *
 * @throws KvcError IMAGE_INVALID, IMAGE_UNSUPPORTED, IMAGE_TOO_LARGE
 */
export async function inspectImage(bytes: Uint8Array, options: InspectOptions): Promise<ImageInfo> {
  const { format, width, height } = await pictureWork.add(() => inspect(bytes, options));
  return { format, width, height };
}

/** The same, for work that already holds its place among the pictures, with the colour space of the file. */
export const inspectForDecoding = inspect;
