import { createHash, webcrypto } from 'node:crypto';

import type { DecodedImage } from './picture-encoder.js';

declare const pictureName: unique symbol;
/** What a picture's features are known by: 32 bytes in hex. */
export type PictureName = string & { readonly [pictureName]: true };

declare const fileName: unique symbol;
/** SHA-256 of a picture's file, in hex: shows that its pixels are known without decoding it. */
export type FileName = string & { readonly [fileName]: true };

/** Bytes hashed in one task on a thread of libuv; each is copied on the event loop first. */
const CHUNK_BYTES = 4 << 20;

/**
 * Names the features of decoded pixels. Equal names: same pixels in the same shape, seen by the same model through
 * the same image processor. Every field stands behind its tag and length, and the pixels as the hashes of their
 * chunks, so no two different pictures share a byte stream.
 *
 * @param processor names model and image processor
 */
export async function namePicture(image: DecodedImage, processor: string): Promise<PictureName> {
  const { rgb, width, height } = image;
  const hash = createHash('sha256').update('kvcapsule picture 1\0');
  const fields = { processor, width, height, channels: 3, chunk: CHUNK_BYTES, bytes: rgb.length };
  for (const [tag, value] of Object.entries(fields)) {
    const text = String(value);
    hash.update(`${tag}\0${Buffer.byteLength(text)}\0${text}`);
  }
  for (let at = 0; at < rgb.length; at += CHUNK_BYTES) {
    hash.update(await digest(rgb.subarray(at, at + CHUNK_BYTES)));
  }
  return hash.digest('hex') as PictureName;
}

/** Names a picture's file by its bytes. */
export async function nameFile(encoded: Uint8Array): Promise<FileName> {
  return Buffer.from(await digest(encoded)).toString('hex') as FileName;
}

async function digest(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await webcrypto.subtle.digest('SHA-256', bytes));
}
