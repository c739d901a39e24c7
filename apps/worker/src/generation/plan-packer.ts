import type { PageChange, ScheduledStep, StepChunk } from '@kvcapsule/domain/scheduling';
import { PageOp, type StepPlan, TOKEN_DRAWN_BEFORE } from '@kvcapsule/engine';

import type { Generation } from './generation.js';
import { packSampling } from './sampling-arrays.js';

const EMPTY: StepPlan = {
  ops: new Int32Array(),
  chunks: new Int32Array(),
  tokens: new Int32Array(),
  positions: new Int32Array(),
  imageHandles: new Int32Array(),
  imageRows: new Int32Array(),
  samples: new Int32Array(),
  temperature: new Float32Array(),
  topP: new Float32Array(),
  topK: new Int32Array(),
  seed: new BigUint64Array(),
};

/**
 * Adds token ids, features and sampling to a scheduled step, as the engine's typed arrays. A token that is not known
 * yet is the one that the step under way draws.
 */
export function packStep(step: ScheduledStep, find: (id: string) => Generation): StepPlan {
  const { rows } = step;
  const plan = {
    tokens: new Int32Array(rows),
    positions: new Int32Array(rows),
    imageHandles: new Int32Array(rows).fill(-1),
    imageRows: new Int32Array(rows),
  };
  let row = 0;
  for (const chunk of step.chunks) {
    packChunk(chunk, find(chunk.id), row, plan);
    row += chunk.rows;
  }
  return {
    ...plan,
    ops: Int32Array.from(step.changes.flatMap(encodeChange)),
    chunks: Int32Array.from(step.chunks.flatMap((chunk) => [chunk.slot, chunk.segment, chunk.rows])),
    samples: Int32Array.from(step.samples, (sample) => sample.row),
    ...packSampling(
      step.samples.map(({ id, row }) => {
        const generation = find(id);
        return { generation, answered: (plan.positions[row] ?? 0) + 1 - generation.promptTokens };
      }),
    ),
  };
}

/** A step that only forgets one slot. */
export function closePlan(slot: number): StepPlan {
  return { ...EMPTY, ops: Int32Array.from(encodeChange({ kind: 'close', slot })) };
}

function packChunk(
  chunk: StepChunk,
  generation: Generation,
  at: number,
  plan: Pick<StepPlan, 'tokens' | 'positions' | 'imageHandles' | 'imageRows'>,
): void {
  const picture = chunk.picture === undefined ? undefined : generation.spec.pictures[chunk.picture];
  const handle = chunk.picture === undefined ? undefined : generation.features.get(chunk.picture)?.handle;
  if (picture && handle === undefined) throw new Error('a picture is scheduled without its features');
  for (let index = 0; index < chunk.rows; index += 1) {
    const position = chunk.start + index;
    plan.tokens[at + index] = generation.tokenIds[position] ?? TOKEN_DRAWN_BEFORE;
    plan.positions[at + index] = position;
    const featureRow = picture?.featureRows[position - picture.offset] ?? -1;
    if (featureRow < 0) continue;
    plan.imageHandles[at + index] = handle ?? -1;
    plan.imageRows[at + index] = featureRow;
  }
}

/** `opcode, slot, argument count, arguments`. */
function encodeChange(change: PageChange): number[] {
  switch (change.kind) {
    case 'open':
      return [PageOp.Open, change.slot, 0];
    case 'close':
      return [PageOp.Close, change.slot, 0];
    case 'segment':
      return [PageOp.Segment, change.slot, 0];
    case 'blocks':
      return [PageOp.Blocks, change.slot, 1 + change.blocks.length, change.segment, ...change.blocks];
    case 'compress': {
      const { segment, profile, pages, blocks, restRows } = change;
      const counted = [pages, blocks, restRows].flatMap((list) => [list.length, ...list]);
      return [PageOp.Compress, change.slot, 2 + counted.length, segment, profile, ...counted];
    }
    case 'attachBlocks': {
      const { slot, segment, tokens, blocks } = change;
      return [PageOp.AttachBlocks, slot, 2 + blocks.length, segment, tokens, ...blocks];
    }
    case 'split':
      return [PageOp.Split, change.slot, 2, change.segment, change.tokens];
    case 'attachCapsule': {
      const { slot, profile, tokens, pages } = change;
      return [PageOp.AttachCapsule, slot, 2 + pages.length, profile, tokens, ...pages];
    }
    case 'copyBlock':
      return [PageOp.CopyBlock, -1, 2, change.from, change.to];
  }
}
