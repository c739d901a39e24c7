import { createHash } from 'node:crypto';
import type { WorkerDescriptor } from '../registry/index.js';
import type { PlacementRequest, WorkerView } from './placement.js';

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

/** Counts a request's pages once a class: a cluster of a thousand equal workers costs one count. */
export function pagesByClass(pagesOn: (worker: WorkerView) => number): PlacementRequest['pagesOn'] {
  const known = new Map<StorageClass, number>();
  return (worker) => {
    let pages = known.get(worker.storageClass);
    if (pages === undefined) known.set(worker.storageClass, (pages = pagesOn(worker)));
    return pages;
  };
}
