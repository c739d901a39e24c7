import { createHash, webcrypto } from 'node:crypto';

import type { CacheDomain } from '@kvcapsule/domain/identity';
import type { DecodedImage, PictureName } from '@kvcapsule/serving';

/** Bytes hashed in one task on a thread of libuv; each is copied on the event loop first. */
const CHUNK_BYTES = 4 << 20;

/**
 * Names the features of decoded pixels. Equal names: same pixels in the same shape, seen by the same model through
 * the same image processor, in the same cache domain. Every field stands behind its tag and length, and the pixels as
 * the hashes of their chunks, so no two different pictures share a byte stream.
 *
 * @param processor names model and image processor
 * @param domain of the request: what others sent is not found, or how long an answer takes would tell of it
 */
export async function namePicture(
  image: DecodedImage,
  processor: string,
  domain: CacheDomain,
): Promise<PictureName> {
  const { rgb, width, height } = image;
  const hash = createHash('sha256').update('kvcapsule picture 2\0');
  const fields = { processor, domain, width, height, channels: 3, chunk: CHUNK_BYTES, bytes: rgb.length };
  for (const [tag, value] of Object.entries(fields)) {
    const text = String(value);
    hash.update(`${tag}\0${Buffer.byteLength(text)}\0${text}`);
  }
  for (let at = 0; at < rgb.length; at += CHUNK_BYTES) {
    hash.update(await digest(rgb.subarray(at, at + CHUNK_BYTES)));
  }
  return hash.digest('hex') as PictureName;
}

async function digest(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await webcrypto.subtle.digest('SHA-256', bytes));
}
