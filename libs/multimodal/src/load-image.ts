import { createHash, hash } from 'node:crypto';
import { KvcError } from '@kvcapsule/contracts';
import { type ImageInfo, inspectImage } from './picture/inspect-image.js';
import { type FetchOptions, fetchImage } from './source/fetch-image.js';
import { parseImageUrl, type PictureUrl } from './source/image-url.js';

export interface LoadedImage extends ImageInfo {
  /** The encoded picture. */
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes` in lower-case hex: the picture's identity, whatever it came wrapped in. */
  readonly sha256: string;
}

/** Bytes that are hashed between two turns of the event loop: one to three milliseconds. */
const HASHED_A_TURN = 1 << 20;

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** In slices on the event loop: a thread would want a copy, and twenty megabytes in one go would hold the loop up. */
async function sha256(bytes: Uint8Array): Promise<string> {
  if (bytes.length <= HASHED_A_TURN) return hash('sha256', bytes);
  const sum = createHash('sha256');
  for (let at = 0; at < bytes.length; at += HASHED_A_TURN) {
    sum.update(bytes.subarray(at, at + HASHED_A_TURN));
    await nextTurn();
  }
  return sum.digest('hex');
}

async function bytesOf(url: PictureUrl, options: FetchOptions): Promise<Uint8Array> {
  const source = await parseImageUrl(url, options.param);
  return source.kind === 'data' ? source.bytes : fetchImage(source.url, options);
}

/** The file of a picture that a URL holds or names. Throws as `loadImage`. */
export async function fetchPicture(url: PictureUrl, options: FetchOptions): Promise<Uint8Array> {
  const { param, policy } = options;
  const bytes = await bytesOf(url, options);
  if (bytes.length > policy.maxBytes)
    throw new KvcError('IMAGE_TOO_LARGE', `the picture has more than ${policy.maxBytes} bytes`, { param });
  return bytes;
}

/** Checks a picture's file without decoding its pixels, and names it. Throws as `loadImage`. */
export async function inspectPicture(
  bytes: Uint8Array,
  { param, policy, signal }: FetchOptions,
): Promise<LoadedImage> {
  const info = await inspectImage(bytes, { param, maxPixels: policy.maxPixels });
  signal?.throwIfAborted();
  return { ...info, bytes, sha256: await sha256(bytes) };
}

/**
 * Gets a picture from its URL and checks it without decoding its pixels.
 *
 * @throws KvcError IMAGE_* with `param`; `signal`'s reason when that fires
 */
export async function loadImage(url: PictureUrl, options: FetchOptions): Promise<LoadedImage> {
  return inspectPicture(await fetchPicture(url, options), options);
}
