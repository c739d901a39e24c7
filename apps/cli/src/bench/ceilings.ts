import type { WeightType } from '@kvcapsule/engine';

/** Sizes that decide what a decode step costs at least. */
export interface DecoderGeometry {
  readonly name: string;
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
}

/** From the `config.json` files that the models are published with (text part). */
export const PUBLISHED: readonly DecoderGeometry[] = [
  {
    name: 'Qwen2.5-VL-7B',
    layers: 28,
    hidden: 3584,
    intermediate: 18944,
    heads: 28,
    kvHeads: 4,
    headDim: 128,
    vocab: 152064,
  },
  {
    name: 'Qwen3-VL-8B',
    layers: 36,
    hidden: 4096,
    intermediate: 12288,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    vocab: 151936,
  },
  {
    name: 'SmolVLM2-2.2B',
    layers: 24,
    hidden: 2048,
    intermediate: 8192,
    heads: 32,
    kvHeads: 32,
    headDim: 64,
    vocab: 49280,
  },
];

/** How the visual tokens of a context are stored. */
export interface Storage {
  /** Bytes a token takes, as a share of raw 16-bit rows. */
  readonly bytesShare: number;
  /** Multiplications attention does for a token, as a share of raw rows'. */
  readonly macsShare: number;
}

export const RAW: Storage = { bytesShare: 1, macsShare: 1 };

/** What one step reads and computes at least, every weight and every key and value once. */
export interface StepCost {
  readonly bytes: number;
  readonly flops: number;
}

export interface Roof {
  readonly readBytesPerSecond: number;
  readonly flopsPerSecond: number;
}

const KV_BYTES_RAW = 2;
const FLOPS_PER_MAC = 2;

/** Parameters that every step multiplies by: all layers and the head; of the embedding it reads single rows. */
export function stepParameters(g: DecoderGeometry): number {
  const attention = g.hidden * g.headDim * (2 * g.heads + 2 * g.kvHeads);
  return g.layers * (attention + 3 * g.hidden * g.intermediate) + g.hidden * g.vocab;
}

/** Bytes a weight of layers and head: blocks of 32 have a scale of two bytes, those of q4_1 a minimum as well. */
const WEIGHT_BYTES: Readonly<Record<WeightType, { readonly layers: number; readonly head: number }>> = {
  f32: { layers: 4, head: 4 },
  f16: { layers: 2, head: 2 },
  bf16: { layers: 2, head: 2 },
  q8_0: { layers: 34 / 32, head: 34 / 32 },
  q4_1: { layers: 20 / 32, head: 34 / 32 },
};

/** Of the parameters that a step multiplies by, on average. */
export function bytesPerWeight(g: DecoderGeometry, type: WeightType): number {
  const headShare = (g.hidden * g.vocab) / stepParameters(g);
  const { layers, head } = WEIGHT_BYTES[type];
  return layers + headShare * (head - layers);
}

/** @param context tokens that each sequence attends to */
export function decodeCost(
  g: DecoderGeometry,
  weightBytes: number,
  batch: number,
  context: number,
  storage: Storage = RAW,
): StepCost {
  const parameters = stepParameters(g);
  const kvBytes = 2 * g.layers * g.kvHeads * g.headDim * KV_BYTES_RAW * storage.bytesShare;
  const attentionMacs = 2 * g.layers * g.heads * g.headDim * storage.macsShare;
  return {
    bytes: parameters * weightBytes + batch * context * kvBytes,
    flops: FLOPS_PER_MAC * batch * (parameters + context * attentionMacs),
  };
}

/** All prompts at once: causal attention sees half of the square; only the last row of each meets the head. */
export function prefillCost(
  g: DecoderGeometry,
  weightBytes: number,
  batch: number,
  context: number,
): StepCost {
  const parameters = stepParameters(g);
  const rows = batch * context;
  const head = g.hidden * g.vocab;
  const attentionMacs = g.layers * g.heads * g.headDim * (context + 1);
  return {
    bytes: parameters * weightBytes + rows * 2 * g.layers * g.kvHeads * g.headDim * KV_BYTES_RAW,
    flops: FLOPS_PER_MAC * (rows * (parameters - head + attentionMacs) + batch * head),
  };
}

/** The least time a step can take: memory and arithmetic may overlap wholly, never more. */
export function leastSeconds({ bytes, flops }: StepCost, roof: Roof): number {
  return Math.max(bytes / roof.readBytesPerSecond, flops / roof.flopsPerSecond);
}

/**
 * Most that storing a context another way can speed decoding up: its least time against raw's on the same roof.
 */
export function ceilingRatio(
  g: DecoderGeometry,
  weightBytes: number,
  batch: number,
  context: number,
  storage: Storage,
  roof: Roof,
): number {
  const cost = (how: Storage) => leastSeconds(decodeCost(g, weightBytes, batch, context, how), roof);
  return cost(RAW) / cost(storage);
}
