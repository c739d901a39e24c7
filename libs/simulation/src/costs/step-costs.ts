import type { StepPlan } from '@kvcapsule/engine';

/** What a step or a picture costs, in milliseconds of the engine that is modelled; none is negative. */
export interface StepCosts {
  /** Of every step that has rows. */
  readonly stepMs: number;
  /** Of a row in a chunk of several. */
  readonly prefillRowMs: number;
  /** Of a row that is alone in its chunk. */
  readonly decodeRowMs: number;
  /** Of a token that such a row attends to, itself included. */
  readonly prefillAttendedMs: number;
  readonly decodeAttendedMs: number;
  /** Of every picture, and of each of its tiles. */
  readonly pictureMs: number;
  readonly tileMs: number;
}

/** What a step is made of, as far as its time goes: a linear model's inputs. */
export interface StepWork {
  readonly prefillRows: number;
  readonly decodeRows: number;
  readonly prefillAttended: number;
  readonly decodeAttended: number;
}

export function stepWork({ chunks, positions }: Pick<StepPlan, 'chunks' | 'positions'>): StepWork {
  const work = { prefillRows: 0, decodeRows: 0, prefillAttended: 0, decodeAttended: 0 };
  let row = 0;
  for (let at = 2; at < chunks.length; at += 3) {
    const count = chunks[at] ?? 0;
    const attended = positions.subarray(row, row + count).reduce((sum, position) => sum + position + 1, 0);
    if (count === 1) {
      work.decodeRows += 1;
      work.decodeAttended += attended;
    } else {
      work.prefillRows += count;
      work.prefillAttended += attended;
    }
    row += count;
  }
  return work;
}

/** 0 for a step without rows, which only changes page tables. */
export function stepMs(costs: StepCosts, work: StepWork): number {
  if (work.prefillRows + work.decodeRows === 0) return 0;
  return (
    costs.stepMs +
    costs.prefillRowMs * work.prefillRows +
    costs.decodeRowMs * work.decodeRows +
    costs.prefillAttendedMs * work.prefillAttended +
    costs.decodeAttendedMs * work.decodeAttended
  );
}

export function pictureMs(costs: StepCosts, tiles: number): number {
  return costs.pictureMs + costs.tileMs * tiles;
}
