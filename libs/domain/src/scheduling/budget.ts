import type { Sequence } from './sequence/sequence.js';

/** Rows of one step. */
export interface StepLimits {
  readonly maxStepTokens: number;
  /** Rows of prefill in a step that also decodes: what running streams wait for new prompts; no bound when absent. */
  readonly maxPrefillChunk?: number;
}

/** How many rows each running sequence may have in the next step. */
export interface StepBudget {
  readonly rows: ReadonlyMap<Sequence, number>;
  /** Of all, those of sequences yet to be admitted included. */
  readonly maxRows: number;
}

/**
 * One row for each decode, then prefill as far as the step goes.
 * @param prefillRows rows of prefill that the engine computes in the time that a step may take, at least 1
 */
export function stepBudget(
  running: readonly Sequence[],
  limits: StepLimits,
  prefillRows = Infinity,
): StepBudget {
  const { maxStepTokens, maxPrefillChunk = maxStepTokens } = limits;
  const rows = new Map<Sequence, number>();
  const prefilling: Sequence[] = [];
  for (const sequence of running) {
    if (!sequence.progress.decoding) prefilling.push(sequence);
    else if (rows.size < maxStepTokens) rows.set(sequence, 1);
  }
  const decodes = rows.size;
  const chunk = decodes > 0 ? Math.min(maxPrefillChunk, prefillRows) : prefillRows;
  const maxRows = Math.min(maxStepTokens, decodes + chunk);
  let left = maxRows - decodes;
  for (const sequence of prefilling) {
    const count = Math.min(left, sequence.progress.rowsInStep);
    if (count <= 0) continue;
    rows.set(sequence, count);
    left -= count;
  }
  return { rows, maxRows };
}
