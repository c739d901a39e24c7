import { describe, expect, it } from 'vitest';
import {
  bytesPerWeight,
  ceilingRatio,
  decodeCost,
  leastSeconds,
  prefillCost,
  PUBLISHED,
  RAW,
  stepParameters,
  type DecoderGeometry,
} from './ceilings.js';

const TINY: DecoderGeometry = {
  name: 'tiny',
  layers: 2,
  hidden: 4,
  intermediate: 8,
  heads: 2,
  kvHeads: 1,
  headDim: 2,
  vocab: 10,
};
// q and o 4 x 4, k and v 4 x 2, three of 4 x 8
const LAYER = 16 + 16 + 8 + 8 + 3 * 32;
const PARAMETERS = 2 * LAYER + 40;

describe('what a step costs at least', () => {
  it('counts every weight once and every key and value of every sequence', () => {
    expect(stepParameters(TINY)).toBe(PARAMETERS);
    const cost = decodeCost(TINY, 2, 3, 100);
    // 2 layers x (key, value) x 1 head x 2 x 2 bytes
    expect(cost.bytes).toBe(PARAMETERS * 2 + 3 * 100 * 16);
    expect(cost.flops).toBe(2 * 3 * (PARAMETERS + 100 * 2 * 2 * 2 * 2));
  });

  it('counts scales and minima of quantized weights, and a head of eight bits', () => {
    expect(bytesPerWeight(TINY, 'bf16')).toBe(2);
    expect(bytesPerWeight(TINY, 'q8_0')).toBe(8.5 / 8);
    expect(PARAMETERS * bytesPerWeight(TINY, 'q4_1')).toBeCloseTo(2 * LAYER * (5 / 8) + 40 * (8.5 / 8), 9);
  });

  it('lets a prefill see half of the square, and the head one row of each prompt', () => {
    const { flops } = prefillCost(TINY, 4, 2, 9);
    expect(flops).toBe(2 * (18 * (PARAMETERS - 40 + 2 * 2 * 2 * 10) + 2 * 40));
  });

  it('takes the slower of memory and arithmetic', () => {
    const roof = { readBytesPerSecond: 100, flopsPerSecond: 1000 };
    expect(leastSeconds({ bytes: 100, flops: 500 }, roof)).toBe(1);
    expect(leastSeconds({ bytes: 100, flops: 5000 }, roof)).toBe(5);
  });

  it('bounds a codec by what is left when its pictures cost nothing', () => {
    const roof = { readBytesPerSecond: 1, flopsPerSecond: Number.POSITIVE_INFINITY };
    const [raw, none] = [decodeCost(TINY, 2, 1, 1000), decodeCost(TINY, 2, 1, 0)];
    const nothing = { bytesShare: 0, macsShare: 0 };
    expect(ceilingRatio(TINY, 2, 1, 1000, nothing, roof)).toBeCloseTo(raw.bytes / none.bytes, 12);
    expect(ceilingRatio(TINY, 2, 1, 1000, RAW, roof)).toBe(1);
  });

  it('knows the published models by their parameters', () => {
    // in billions, without the embedding where it is not the head
    const billions = PUBLISHED.map((one) => Number((stepParameters(one) / 1e9).toFixed(1)));
    expect(billions).toEqual([7.1, 7.6, 1.7]);
  });
});
