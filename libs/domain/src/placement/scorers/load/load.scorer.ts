import { besideTokens, freePages, prefillSteps, queuedTokens, sharedWait } from '../../cost-model.js';
import type { PlacementRequest, Scorer, WorkerView } from '../../placement.js';

/** The request's pages, in tokens, as far as they are likely to take the place of content that is asked for again. */
function displacedTokens(request: PlacementRequest, worker: WorkerView): number {
  const { capacityPages, blockTokens, pagesPerBlock } = worker.record;
  const pages = request.pagesOn(worker);
  const occupied = (capacityPages - freePages(worker) + pages) / Math.max(1, capacityPages);
  return pages * (blockTokens / pagesPerBlock) * Math.min(1, Math.max(0, occupied));
}

/** What is queued, what runs beside, and what has to make room; see README.md for the formula. */
export const load: Scorer = {
  name: 'load',
  over: (request) => (worker, held, costs, at) => {
    const steps = prefillSteps(request, held) + request.answerTokens;
    const ahead = queuedTokens(request, worker) - sharedWait(request, worker, held);
    costs[at] = ahead + besideTokens(worker, steps) + displacedTokens(request, worker);
  },
};
