import { hash, webcrypto } from 'node:crypto';
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

/** Up to this many bytes are hashed in place: 40 microseconds, less than a trip to the thread pool. */
const INLINE_HASH_BYTES = 64 * 1024;

/** Twenty megabytes would hold the event loop up for tens of milliseconds. */
async function sha256(bytes: Uint8Array): Promise<string> {
  if (bytes.length <= INLINE_HASH_BYTES) return hash('sha256', bytes);
  const digest = await webcrypto.subtle.digest('SHA-256', bytes);
  return Buffer.from(digest).toString('hex');
}

async function bytesOf(url: PictureUrl, options: FetchOptions): Promise<Uint8Array> {
  const source = await parseImageUrl(url, options.param);
  return source.kind === 'data' ? source.bytes : fetchImage(source.url, options);
}

/**
 * Gets a picture from its URL and checks it without decoding its pixels.
 *
 * @throws KvcError IMAGE_* with `param`; `signal`'s reason when that fires
 */
export async function loadImage(url: PictureUrl, options: FetchOptions): Promise<LoadedImage> {
  const { param, policy, signal } = options;
  const bytes = await bytesOf(url, options);
  if (bytes.length > policy.maxBytes)
    throw new KvcError('IMAGE_TOO_LARGE', `the picture has more than ${policy.maxBytes} bytes`, { param });
  const info = await inspectImage(bytes, { param, maxPixels: policy.maxPixels });
  signal?.throwIfAborted();
  return { ...info, bytes, sha256: await sha256(bytes) };
}
