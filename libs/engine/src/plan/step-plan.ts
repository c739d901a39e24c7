import type { InputChunk, ModelInput } from '@kvcapsule/domain/model-input';

import type { StepPlan } from '../native.js';
import { encodeChange } from './page-ops.js';
import { packSampling } from './sampling-arrays.js';

type RowArrays = Pick<StepPlan, 'tokens' | 'positions' | 'imageHandles' | 'imageRows'>;

/** Lays a step's work out in the arrays that the engine takes. They hold copies: the input may change afterwards. */
export function buildPlan(
  { changes, chunks, samples }: ModelInput,
  returns: Pick<StepPlan, 'returnLogits' | 'returnQueries'> = {},
): StepPlan {
  const rows = chunks.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const arrays = {
    tokens: new Int32Array(rows),
    positions: new Int32Array(rows),
    imageHandles: new Int32Array(rows).fill(-1),
    imageRows: new Int32Array(rows),
  };
  let row = 0;
  for (const chunk of chunks) {
    layRows(chunk, row, arrays);
    row += chunk.tokens.length;
  }
  return {
    ...arrays,
    ops: Int32Array.from(changes.flatMap(encodeChange)),
    chunks: Int32Array.from(chunks.flatMap(({ slot, segment, tokens }) => [slot, segment, tokens.length])),
    samples: Int32Array.from(samples, (sample) => sample.row),
    ...packSampling(samples),
    ...returns,
  };
}

function layRows({ tokens, firstPosition, features }: InputChunk, at: number, arrays: RowArrays): void {
  for (let index = 0; index < tokens.length; index += 1) {
    arrays.tokens[at + index] = tokens[index] ?? 0;
    arrays.positions[at + index] = firstPosition + index;
    const featureRow = features?.rows[index] ?? -1;
    if (!features || featureRow < 0) continue;
    arrays.imageHandles[at + index] = features.handle;
    arrays.imageRows[at + index] = featureRow;
  }
}
