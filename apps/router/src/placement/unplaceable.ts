import { KvcError } from '@kvcapsule/contracts/errors';
import type { Decision, PlacementRequest, Rejection } from '@kvcapsule/domain/placement';

/** How long a client should wait when no worker is ready: as long as one takes to register again. */
const RETRY_AFTER_MS = 2_000;

/** What a client is told when no worker can take its request, now or soon. */
export function unplaceable(request: PlacementRequest, { rejected }: Decision): KvcError {
  const tooSmall = rejected.filter(({ filter }) => filter.name === 'capacity');
  if (tooSmall.length > 0) return tooLarge(request, tooSmall);
  const reasons = reasonsOf(rejected);
  const message = reasons === '' ? 'No worker is ready.' : `No worker is ready: ${reasons}.`;
  return new KvcError('NO_WORKER', message, { retryAfterMs: RETRY_AFTER_MS });
}

function tooLarge(request: PlacementRequest, tooSmall: readonly Rejection[]): KvcError {
  const needed = Math.min(...tooSmall.map(({ worker }) => request.pagesOn(worker)));
  const largest = Math.max(...tooSmall.map(({ worker }) => worker.record.capacityPages));
  const message = `The prompt needs ${needed} KV pages; the largest worker has ${largest}.`;
  return new KvcError('KV_CAPACITY_EXCEEDED', message, { param: 'messages' });
}

/** "2 not ready, 1 without the codec"; workers of other models are of no interest. */
function reasonsOf(rejected: readonly Rejection[]): string {
  const counts = new Map<string, number>();
  for (const { filter } of rejected) {
    if (filter.name !== 'model') counts.set(filter.reason, (counts.get(filter.reason) ?? 0) + 1);
  }
  return [...counts].map(([reason, count]) => `${count} ${reason}`).join(', ');
}
