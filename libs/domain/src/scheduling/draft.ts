import type { Sequence, SequenceWork } from './sequence.js';
import type { PageChange, PageMove, Recompression, ScheduledStep, StepSample } from './step.js';

/** What one `plan` call gathers. */
export interface Draft {
  readonly number: number;
  readonly work: Map<Sequence, SequenceWork>;
  /** Changes before all work. */
  head: PageChange[];
  readonly reads: PageMove[];
  readonly writes: PageMove[];
  /** Rows that the step may have. */
  maxRows: number;
  readonly recompressed: Recompression[];
  readonly preempted: string[];
  readonly missing: string[];
  readonly exhausted: string[];
}

export function plannedRows(draft: Draft): number {
  let rows = 0;
  for (const work of draft.work.values()) rows += work.rows;
  return rows;
}

/** The step, behind the closing of slots; `undefined` when there is nothing to do. */
export function assemble(draft: Draft, closing: readonly number[]): ScheduledStep | undefined {
  const rows = plannedRows(draft);
  const { number, head, reads, writes, recompressed, preempted, missing, exhausted } = draft;
  const moved = head.length + reads.length + preempted.length + missing.length + exhausted.length;
  if (rows + moved === 0) return undefined;
  const work = [...draft.work.entries()];
  const samples: StepSample[] = [];
  let row = 0;
  for (const [sequence, part] of work) {
    row += part.rows;
    if (part.samples) samples.push({ id: sequence.id, row: row - 1 });
  }
  const closes = closing.map((slot): PageChange => ({ kind: 'close', slot }));
  return {
    number,
    reads,
    writes,
    changes: [...closes, ...head, ...work.flatMap(([, part]) => part.changes)],
    chunks: work.flatMap(([, part]) => part.chunks),
    samples,
    rows,
    slots: [...new Set([...closing, ...work.map(([sequence]) => sequence.slot)])],
    recompressed,
    preempted,
    missing,
    exhausted,
  };
}
