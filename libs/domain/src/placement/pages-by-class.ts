import type { PlacementRequest, WorkerView } from './placement.js';
import type { StorageClass } from './storage-class.js';

/** Counts a request's pages once a class: a cluster of a thousand equal workers costs one count. */
export function pagesByClass(pagesOn: (worker: WorkerView) => number): PlacementRequest['pagesOn'] {
  const known = new Map<StorageClass, number>();
  return (worker) => {
    let pages = known.get(worker.storageClass);
    if (pages === undefined) known.set(worker.storageClass, (pages = pagesOn(worker)));
    return pages;
  };
}
