import { greedySample, type InputSample } from '@kvcapsule/domain/model-input';
import { buildPlan } from '@kvcapsule/engine/plan';
import { describe, expect, it } from 'vitest';

import { drawToken } from './answers.js';

const ORDINARY = [10, 11, 12, 13];
const END = 2;
const VOCAB = 20;
const plan = (sample: Partial<InputSample> = {}) =>
  buildPlan({
    changes: [],
    chunks: [{ slot: 0, segment: 0, tokens: [9], firstIndex: 0, firstPosition: 0 }],
    samples: [{ ...greedySample(0), ...sample }],
  });
const draw = (state: number, sample?: Partial<InputSample>, meanTokens = Infinity): number =>
  drawToken(plan(sample), 0, state, { ordinary: ORDINARY, end: END, meanTokens }, VOCAB);
const states = Array.from({ length: 4_000 }, (_, state) => state * 7_919);
const bias = (entries: readonly (readonly [number, number])[]) => ({
  bias: {
    tokens: Int32Array.from(entries, ([token]) => token),
    values: Float32Array.from(entries, ([, value]) => value),
  },
});

describe('drawToken', () => {
  it('is one of the ordinary tokens, each about as often', () => {
    const drawn = states.map((state) => draw(state));
    for (const token of ORDINARY)
      expect(drawn.filter((each) => each === token).length / drawn.length).toBeCloseTo(0.25, 1);
    expect(new Set(drawn)).toEqual(new Set(ORDINARY));
  });

  it('depends on the seed where tokens are sampled, and not where they are greedy', () => {
    const sampled = (seed: bigint) =>
      states.slice(0, 40).map((state) => draw(state, { temperature: 1, seed }));
    const greedy = (seed: bigint) => states.slice(0, 40).map((state) => draw(state, { seed }));
    expect(sampled(1n)).toEqual(sampled(1n));
    expect(sampled(1n)).not.toEqual(sampled(2n));
    expect(greedy(1n)).toEqual(greedy(2n));
  });

  it('ends answers after so many tokens on average', () => {
    const ends = states.filter((state) => draw(state, {}, 8) === END).length;
    expect(states.length / ends).toBeGreaterThan(7);
    expect(states.length / ends).toBeLessThan(9);
  });

  it('takes what a bias demands, and nothing that one forbids', () => {
    expect(draw(1, bias([[12, 100]]))).toBe(12);
    const forbidden = bias([
      [END, -Infinity],
      [11, -Infinity],
    ]);
    const drawn = new Set(states.map((state) => draw(state, forbidden, 2)));
    expect(drawn).toEqual(new Set([10, 12, 13]));
  });
});
