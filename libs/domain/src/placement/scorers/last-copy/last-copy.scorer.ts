import { freePages } from '../../cost-model.js';
import type { HeldContent, PlacementRequest, Scorer, WorkerView } from '../../placement.js';

/** Pages of the request that lie beside what is held of its prompt: as many tokens, as many pages. */
function newPages(request: PlacementRequest, worker: WorkerView, held: HeldContent | undefined): number {
  const tokens = Math.max(1, request.promptTokens + request.answerTokens);
  return request.pagesOn(worker) * Math.max(0, 1 - (held?.prefixTokens ?? 0) / tokens);
}

/** What others will have to compute again when this request takes its place; see README.md. */
export const lastCopy: Scorer = {
  name: 'last-copy',
  over: (request) =>
    request.cacheOf &&
    ((worker, held, costs, at) => {
      const cache = request.cacheOf?.(worker);
      if (!cache) return;
      costs[at] = 0;
      if (cache.pages === 0) return;
      const emptyPages = Math.max(0, freePages(worker) - cache.pages);
      const evictedPages = Math.max(0, newPages(request, worker, held) - emptyPages);
      costs[at] = Math.min(1, evictedPages / cache.pages) * cache.lastCopyTokens;
    }),
};
