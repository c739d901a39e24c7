import { KvcError } from '@kvcapsule/contracts';
import type { Sharp } from 'sharp';
import { isOpaqueWebp } from './container.js';
import { fillAroundFrame } from './gif.js';
import { asBuffer, inspectForDecoding } from './inspect-image.js';
import { openPicture, pictureWork } from './sharp.js';

/** What transparent pixels lie on. */
const BACKGROUND = '#ffffff';

/** Pixels that are converted between two turns of the event loop: about two milliseconds of work. */
const SLICE_PIXELS = 1 << 18;

export interface DecodedImage {
  /** Upright, 8 bits a channel: [height, width, 3] */
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface DecodeOptions {
  readonly param: string;
  readonly maxPixels: number;
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Round-to-nearest of a * b / 255 as Pillow computes it. */
function mulDiv255(a: number, b: number): number {
  const product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/** CMYK [pixels, 4] as Pillow converts it: without a colour profile, the key takes its share of the light. */
async function cmykToRgb(cmyk: Uint8Array): Promise<Uint8Array> {
  const pixels = cmyk.length / 4;
  const rgb = new Uint8Array(pixels * 3);
  for (let pixel = 0; pixel < pixels; pixel += 1) {
    const light = 255 - (cmyk[4 * pixel + 3] ?? 0);
    for (let channel = 0; channel < 3; channel += 1)
      rgb[3 * pixel + channel] = light - mulDiv255(cmyk[4 * pixel + channel] ?? 0, light);
    if (pixel % SLICE_PIXELS === SLICE_PIXELS - 1) await nextTurn();
  }
  return rgb;
}

function pipelineOf(
  bytes: Buffer,
  { format, space }: { format: string; space: string },
  maxPixels: number,
): Sharp {
  const upright = openPicture(bytes, maxPixels).autoOrient();
  if (space === 'cmyk') return upright.pipelineColourspace('cmyk').toColourspace('cmyk');
  const isOpaque = format === 'webp' && isOpaqueWebp(bytes);
  const flat = isOpaque ? upright.removeAlpha() : upright.flatten({ background: BACKGROUND });
  return flat.toColourspace('srgb');
}

async function decode(bytes: Buffer, { param, maxPixels }: DecodeOptions): Promise<DecodedImage> {
  const file = await inspectForDecoding(bytes, { param, maxPixels });
  try {
    const pipeline = pipelineOf(bytes, file, maxPixels);
    const { data, info } = await pipeline.raw().toBuffer({ resolveWithObject: true });
    const rgb = file.space === 'cmyk' ? await cmykToRgb(data) : data;
    if (file.format === 'gif') fillAroundFrame(rgb, info.width, bytes);
    return { rgb, width: info.width, height: info.height };
  } catch (cause) {
    throw new KvcError('IMAGE_INVALID', 'the picture is damaged or cut off', { param, cause });
  }
}

/**
 * Decodes a picture to upright 8-bit RGB: EXIF orientation applied, transparency laid on white, 16 bits
 * shifted to 8, colour profiles ignored, the first frame of an animation, and what an opaque frame leaves of a
 * GIF's canvas in the first colour of its table.
 *
 * @throws KvcError IMAGE_INVALID, IMAGE_UNSUPPORTED, IMAGE_TOO_LARGE
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions): Promise<DecodedImage> {
  return pictureWork.add(() => decode(asBuffer(bytes), options));
}
