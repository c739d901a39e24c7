import type { KeptSpan } from './description.js';
import type { Sequence } from './sequence/sequence.js';
import type { SequenceWork } from './sequence/work.js';
import type { PageChange, PageMove, Recompression, ScheduledStep, StepSample } from './step.js';

/** Changes of one sequence at the head of a step. */
interface HeadChanges {
  readonly sequence: Sequence;
  readonly slot: number;
  readonly changes: readonly PageChange[];
}

/** What one `plan` call gathers. */
export interface Draft {
  readonly number: number;
  readonly work: Map<Sequence, SequenceWork>;
  /** What the ladder compresses, before all work. */
  readonly head: HeadChanges[];
  readonly reads: PageMove[];
  readonly writes: PageMove[];
  /** Rows that the step may have. */
  maxRows: number;
  readonly recompressed: Recompression[];
  readonly preempted: string[];
  readonly missing: string[];
  /** With how their prompts were kept. */
  readonly exhausted: Map<string, readonly KeptSpan[]>;
}

export function newDraft(number: number, maxRows: number): Draft {
  const lists = {
    head: [],
    reads: [],
    writes: [],
    recompressed: [],
    preempted: [],
    missing: [],
  };
  return { number, work: new Map(), exhausted: new Map(), maxRows, ...lists };
}

export function plannedRows(draft: Draft): number {
  let rows = 0;
  for (const work of draft.work.values()) rows += work.rows;
  return rows;
}

/** The step, behind the closing of slots; `undefined` when there is nothing to do. */
export function assemble(draft: Draft, closing: readonly number[]): ScheduledStep | undefined {
  const rows = plannedRows(draft);
  const { number, reads, writes, recompressed, preempted, missing, exhausted } = draft;
  // a sequence that was preempted afterwards has no slot to apply them to
  const head = draft.head.flatMap(({ sequence, slot, changes }) => (sequence.slot === slot ? changes : []));
  const moved = head.length + reads.length + preempted.length + missing.length + exhausted.size;
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
    exhausted: [...exhausted.keys()],
  };
}
