import { createHash } from 'node:crypto';

import type { CacheDomain } from './cache-domain.js';

/** Names a picture's file within one cache domain, 32 bytes in hex: shows that its pixels are known without decoding it. */
export type FileName = string & { readonly __brand: 'FileName' };

/** Names a picture's file by the SHA-256 of its bytes and the request's cache domain. */
export function nameFile(contentSha256: Uint8Array, domain: CacheDomain): FileName {
  const hash = createHash('sha256').update('kvcapsule file 2\0').update(contentSha256);
  return hash.update(domain).digest('hex') as FileName;
}
