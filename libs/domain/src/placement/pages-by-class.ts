import type { PlacementRequest, WorkerView } from './placement.js';
import type { StorageClass } from './storage-class.js';

/** Counts a request's pages once a class: a cluster of a thousand equal workers costs one count. */
export function pagesByClass(pagesOn: (worker: WorkerView) => number): PlacementRequest['pagesOn'] {
  const known = new Map<StorageClass, number>();
  // Filters and scorers ask of one worker after the other, and most are of one class: no look-up for those.
  let last: StorageClass | undefined;
  let lastPages: number | undefined;
  return (worker) => {
    const { storageClass } = worker;
    if (lastPages !== undefined && storageClass === last) return lastPages;
    let pages = known.get(storageClass);
    if (pages === undefined) known.set(storageClass, (pages = pagesOn(worker)));
    last = storageClass;
    lastPages = pages;
    return pages;
  };
}
