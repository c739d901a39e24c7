import { createHash } from 'node:crypto';

declare const pictureName: unique symbol;
/** What a picture's features are known by: 32 bytes in hex. */
export type PictureName = string & { readonly [pictureName]: true };

declare const fileName: unique symbol;
/** Names a picture's file for requests with one salt, 32 bytes in hex: shows that its pixels are known without decoding it. */
export type FileName = string & { readonly [fileName]: true };

/** Names a picture's file by the SHA-256 of its bytes and the request's salt. */
export function nameFile(contentSha256: Uint8Array, cacheSalt: string): FileName {
  const hash = createHash('sha256').update('kvcapsule file 1\0').update(contentSha256);
  return hash.update(cacheSalt).digest('hex') as FileName;
}
