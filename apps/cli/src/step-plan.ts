import type { StepPlan } from '@kvcapsule/engine';

/** One picture's prompt, cut where the segments are cut. */
export interface PicturePrompt {
  /** Text before the picture. */
  readonly prefix: readonly number[];
  /** Markers and image tokens. */
  readonly picture: readonly number[];
  readonly imageHandle: number;
}

/** One token of a step, where it stands and, for an image token, which row of which picture it carries. */
export interface Row {
  readonly token: number;
  readonly position: number;
  readonly imageHandle: number;
  readonly imageRow: number;
}

/** Everything one sequence does in one step. */
export interface SlotWork {
  readonly ops: readonly number[];
  readonly chunks: readonly { readonly segment: number; readonly rows: readonly Row[] }[];
  /** The last so many rows' next tokens are wanted. */
  readonly samples: number;
}

/** Rows of a segment that hold image tokens, ascending. */
export function coveredRows(picture: readonly number[], imageTokenId: number): number[] {
  return [...picture.keys()].filter((row) => picture[row] === imageTokenId);
}

export function textRows(tokens: readonly number[], firstPosition: number): Row[] {
  return tokens.map((token, index) => ({
    token,
    position: firstPosition + index,
    imageHandle: -1,
    imageRow: 0,
  }));
}

/** @param picture markers and image tokens of one picture */
export function pictureRows(
  picture: readonly number[],
  imageHandle: number,
  firstPosition: number,
  imageTokenId: number,
): Row[] {
  let imageRow = 0;
  return picture.map((token, index) => {
    const visual = token === imageTokenId;
    const row = { token, position: firstPosition + index, imageHandle: visual ? imageHandle : -1 };
    return { ...row, imageRow: visual ? imageRow++ : 0 };
  });
}

/** Lays the slots' rows one after the other; greedy; `slots` tells whose each sample is. */
export function buildPlan(
  firstOps: readonly number[],
  works: ReadonlyMap<number, SlotWork>,
  returns: Pick<StepPlan, 'returnLogits' | 'returnQueries'>,
): { plan: StepPlan; slots: number[] } {
  const ops = [...firstOps];
  const chunks: number[] = [];
  const rows: Row[] = [];
  const samples: number[] = [];
  const slots: number[] = [];
  for (const [slot, work] of works) {
    ops.push(...work.ops);
    for (const chunk of work.chunks) {
      chunks.push(slot, chunk.segment, chunk.rows.length);
      rows.push(...chunk.rows);
    }
    for (let back = work.samples; back > 0; back--) {
      samples.push(rows.length - back);
      slots.push(slot);
    }
  }
  const plan: StepPlan = {
    ops: Int32Array.from(ops),
    chunks: Int32Array.from(chunks),
    tokens: Int32Array.from(rows, (row) => row.token),
    positions: Int32Array.from(rows, (row) => row.position),
    imageHandles: Int32Array.from(rows, (row) => row.imageHandle),
    imageRows: Int32Array.from(rows, (row) => row.imageRow),
    samples: Int32Array.from(samples),
    temperature: new Float32Array(samples.length),
    topP: new Float32Array(samples.length).fill(1),
    topK: new Int32Array(samples.length),
    seed: new BigUint64Array(samples.length),
    ...returns,
  };
  return { plan, slots };
}
