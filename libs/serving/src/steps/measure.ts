import type { RebuildCosts } from '@kvcapsule/domain/eviction';
import type { ScheduledStep } from '@kvcapsule/domain/scheduling';

/** A step of fewer rows of prefill takes about as long as reading the weights, whatever it computes. */
const LEAST_ROWS = 32;

/** What a step tells of what computing content again costs. Pictures' slices beside it are no part of its time. */
export function measure(
  costs: RebuildCosts,
  { chunks, changes, rows }: Pick<ScheduledStep, 'chunks' | 'changes' | 'rows'>,
  { seconds, compressSeconds }: { readonly seconds: number; readonly compressSeconds: number },
): void {
  const pages = changes.reduce(
    (sum, change) => sum + (change.kind === 'compress' ? change.pages.length : 0),
    0,
  );
  costs.compressed(pages, compressSeconds);
  const prefillRows = chunks.reduce((sum, chunk) => sum + (chunk.rows > 1 ? chunk.rows : 0), 0);
  if (prefillRows >= LEAST_ROWS && 2 * prefillRows >= rows) costs.prefilled(rows, seconds - compressSeconds);
}
