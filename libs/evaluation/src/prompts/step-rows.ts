import { greedySample, type InputChunk, type ModelInput } from '@kvcapsule/domain/model-input';
import type { PageChange } from '@kvcapsule/domain/scheduling';

/** One picture's prompt, cut where the segments are cut. */
export interface PicturePrompt {
  /** Text before the picture. */
  readonly prefix: readonly number[];
  /** Markers and image tokens. */
  readonly picture: readonly number[];
  readonly imageHandle: number;
}

/** Rows that follow each other in one sequence. */
export type Rows = Omit<InputChunk, 'slot' | 'segment'>;

/** Everything one sequence does in one step. */
export interface SlotWork {
  readonly changes: readonly PageChange[];
  readonly chunks: readonly { readonly segment: number; readonly rows: Rows }[];
  /** The last so many rows' next tokens are wanted. */
  readonly samples: number;
}

/** Rows of a segment that hold image tokens, ascending. */
export function coveredRows(picture: readonly number[], imageTokenId: number): number[] {
  return [...picture.keys()].filter((row) => picture[row] === imageTokenId);
}

/** @param first index and position of the first token */
export function textRows(tokens: readonly number[], first: number): Rows {
  return { tokens, firstIndex: first, firstPosition: first };
}

/** @param picture markers and image tokens of one picture */
export function pictureRows(
  picture: readonly number[],
  handle: number,
  first: number,
  imageTokenId: number,
): Rows {
  let imageRow = 0;
  const rows = picture.map((token) => (token === imageTokenId ? imageRow++ : -1));
  return { ...textRows(picture, first), features: { handle, rows } };
}

/** Lays the slots' rows one after the other; greedy; `slots` tells whose each sample is. */
export function batchInput(
  firstChanges: readonly PageChange[],
  works: ReadonlyMap<number, SlotWork>,
): { input: ModelInput; slots: number[] } {
  const changes = [...firstChanges];
  const chunks: InputChunk[] = [];
  const samples: ModelInput['samples'][number][] = [];
  const slots: number[] = [];
  let rows = 0;
  for (const [slot, work] of works) {
    changes.push(...work.changes);
    for (const { segment, rows: added } of work.chunks) {
      chunks.push({ slot, segment, ...added });
      rows += added.tokens.length;
    }
    for (let back = work.samples; back > 0; back--) {
      samples.push(greedySample(rows - back));
      slots.push(slot);
    }
  }
  return { input: { changes, chunks, samples }, slots };
}
