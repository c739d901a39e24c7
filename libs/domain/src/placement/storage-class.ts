import { createHash } from 'node:crypto';
import type { WorkerDescriptor } from '../registry/index.js';

/** Workers of one class need equally many pages for any request. */
export type StorageClass = string & { readonly __brand: 'StorageClass' };

/** Of everything that a request's pages depend on: geometry, formats, the codec of requests that name none. */
export function storageClass(
  descriptor: Pick<WorkerDescriptor, 'blockTokens' | 'pagesPerBlock' | 'pageBytes' | 'codec' | 'formats'>,
): StorageClass {
  const { blockTokens, pagesPerBlock, pageBytes, codec, formats } = descriptor;
  const shape = JSON.stringify([blockTokens, pagesPerBlock, pageBytes, codec, formats]);
  return createHash('sha256').update(shape).digest('base64url') as StorageClass;
}
