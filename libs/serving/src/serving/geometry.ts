import type { StorageFormat, StorageOffer } from '@kvcapsule/domain/storage';

/** What a worker's decisions depend on of its engine; every engine's own description has at least this. */
export interface EngineGeometry extends StorageOffer {
  readonly vocab: number;
  readonly contextTokens: number;
  readonly imageTokenId: number;
  /** Bytes of one visual token's features while a picture is kept. */
  readonly featureBytes: number;
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly formats: readonly (StorageFormat & {
    /** Of one capsule; 0 where `tokens` is 0. */
    readonly bytes: number;
  })[];
}

const F16_BYTES = 2;

/** Keys and values of one token of all layers as raw 16-bit rows, whatever the pool's own type. */
export function rawTokenBytes({
  layers,
  kvHeads,
  headDim,
}: Pick<EngineGeometry, 'layers' | 'kvHeads' | 'headDim'>): number {
  return 2 * layers * kvHeads * headDim * F16_BYTES;
}
