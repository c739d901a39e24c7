import { KvcError } from '@kvcapsule/contracts/errors';
import type { Decision, PlacementRequest, Rejections, WorkerView } from '@kvcapsule/domain/placement';

/** How long a client should wait when no worker is ready: as long as one takes to register again. */
const RETRY_AFTER_MS = 2_000;

/** What a client is told when no worker can take its request, now or soon. */
export function unplaceable(request: PlacementRequest, { rejected }: Decision): KvcError {
  const tooSmall = rejectedBy('capacity', rejected);
  if (tooSmall.length > 0) return tooLarge(request, tooSmall);
  const reasons = reasonsOf(rejected);
  const message = reasons === '' ? 'No worker is ready.' : `No worker is ready: ${reasons}.`;
  return new KvcError('NO_WORKER', message, { retryAfterMs: RETRY_AFTER_MS });
}

function tooLarge(request: PlacementRequest, tooSmall: readonly WorkerView[]): KvcError {
  const needed = Math.min(...tooSmall.map((worker) => request.pagesOn(worker)));
  const largest = Math.max(...tooSmall.map(({ record }) => record.capacityPages));
  const message = `The prompt needs ${needed} KV pages; the largest worker has ${largest}.`;
  return new KvcError('KV_CAPACITY_EXCEEDED', message, { param: 'messages' });
}

/** The workers that the filter of that name left out. */
export function rejectedBy(name: string, rejected: Rejections): readonly WorkerView[] {
  for (const [filter, workers] of rejected) if (filter.name === name) return workers;
  return [];
}

/** "2 not ready, 1 without the codec"; workers of other models are of no interest. */
function reasonsOf(rejected: Rejections): string {
  return [...rejected]
    .filter(([filter]) => filter.name !== 'model')
    .map(([{ reason }, workers]) => `${workers.length} ${reason}`)
    .join(', ');
}
