import { KvcError } from '@kvcapsule/contracts/errors';
import { BLOCK_SHAPE } from '@kvcapsule/domain/paging';
import type { ModelGeometry, NativeDtype } from '@kvcapsule/engine';

export const DTYPE_BYTES = { f32: 4, f16: 2, bf16: 2 } as const satisfies Record<NativeDtype, number>;
const MIB = 2 ** 20;

/** Keys and values of all layers and KV heads for the tokens of one block. */
export function blockBytes({ layers, kvHeads, headDim }: ModelGeometry, kvDtype: NativeDtype): number {
  return layers * 2 * kvHeads * BLOCK_SHAPE.blockTokens * headDim * DTYPE_BYTES[kvDtype];
}

/** Whole blocks that fit. Throws `CONFIG_INVALID` when none does. */
export function poolBlocks(poolMib: number, geometry: ModelGeometry, kvDtype: NativeDtype): number {
  const blocks = Math.floor((poolMib * MIB) / blockBytes(geometry, kvDtype));
  if (blocks < 1)
    throw new KvcError('CONFIG_INVALID', `--pool-mib ${poolMib} is less than one block of this model.`);
  return blocks;
}
