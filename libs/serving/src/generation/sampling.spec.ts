import { describe, expect, it } from 'vitest';

import { type RequestedSampling, type Sampling, samplingSchema, toSampling } from './sampling.js';

const VOCAB = 50;
const NOTHING: RequestedSampling = {
  ...{ temperature: 0, topP: 0, topK: 0, minP: 0, seed: 0n, presencePenalty: 0, frequencyPenalty: 0 },
  ...{ repetitionPenalty: 0, logitBias: [], minTokens: 0, ignoreEos: false },
};
const GREEDY: Sampling = {
  ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, presencePenalty: 0, frequencyPenalty: 0 },
  ...{ repetitionPenalty: 1, bias: undefined, biasBeforeMin: undefined, topLogprobs: undefined },
  ...{ minTokens: 0, ignoreEos: false },
};

const sampling = (wire: Partial<RequestedSampling>, endTokens: readonly number[] = []): Sampling =>
  toSampling({ ...NOTHING, ...wire }, VOCAB, new Set(endTokens));

describe('toSampling', () => {
  it('draws greedily and without penalties where nothing is said, in a message or by none', () => {
    expect(toSampling(undefined, VOCAB, new Set())).toEqual(GREEDY);
    expect(sampling({})).toEqual(GREEDY);
  });

  it('takes what is said', () => {
    const said = {
      ...{ temperature: 0.7, topP: 0.9, topK: 5, minP: 0.1, seed: 9n, presencePenalty: 0.5 },
      ...{ frequencyPenalty: -1, repetitionPenalty: 1.5, topLogprobs: 3, ignoreEos: true },
    };
    expect(sampling(said)).toEqual({ ...GREEDY, ...said });
  });

  it.each([
    [0.7, 0],
    [0, 0.9],
  ])('draws the likeliest token at temperature %d with top-p %d', (temperature, topP) => {
    expect(sampling({ temperature, topP })).toMatchObject({ temperature: 0, topP: topP || 1 });
  });

  it('hands biases on by ascending token, the last word on each', () => {
    const entries = [
      [9, 1],
      [3, -2],
      [49, 4],
      [9, 2.5],
    ] as const;
    const { bias } = sampling({ logitBias: entries.map(([tokenId, bias]) => ({ tokenId, bias })) });
    expect([bias?.tokens, bias?.values]).toEqual([Int32Array.of(3, 9, 49), Float32Array.of(-2, 2.5, 4)]);
  });

  it('refuses a bias of a token beyond the vocabulary', () => {
    expect(() => sampling({ logitBias: [{ tokenId: VOCAB, bias: 1 }] })).toThrow(
      expect.objectContaining({
        ...{ code: 'INVALID_REQUEST', param: 'logit_bias' },
        message: expect.stringContaining('50') as string,
      }) as Error,
    );
  });

  it('forbids end tokens before the least number of tokens, whatever bias they have, and not after', () => {
    const logitBias = [
      { tokenId: 7, bias: 1 },
      { tokenId: 2, bias: 100 },
    ];
    // an engine's list of end tokens may name some that a smaller vocabulary does not have
    const { bias, biasBeforeMin, minTokens } = sampling({ logitBias, minTokens: 3 }, [2, 5, VOCAB]);
    expect(minTokens).toBe(3);
    expect(bias?.values).toEqual(Float32Array.of(100, 1));
    expect([biasBeforeMin?.tokens, biasBeforeMin?.values]).toEqual([
      Int32Array.of(2, 5, 7),
      Float32Array.of(-Infinity, -Infinity, 1),
    ]);
    expect(sampling({ logitBias }, [2]).biasBeforeMin).toBeUndefined();
  });

  it('asks for no more log-probabilities than there are tokens', () => {
    expect([0, 20].map((topLogprobs) => sampling({ topLogprobs }).topLogprobs)).toEqual([0, 20]);
    expect(toSampling({ ...NOTHING, topLogprobs: 20 }, 4, new Set()).topLogprobs).toBe(4);
  });
});

describe('samplingSchema', () => {
  it.each<Partial<RequestedSampling>>([
    { temperature: -0.1 },
    { temperature: NaN },
    { temperature: Infinity },
    { topP: 1.1 },
    { topP: -0.1 },
    { topP: NaN },
    { topK: -1 },
    { topK: 0.5 },
    { minP: 1.1 },
    { presencePenalty: 1001 },
    { frequencyPenalty: -1001 },
    { repetitionPenalty: 0.0009 },
    { repetitionPenalty: 1001 },
    { logitBias: [{ tokenId: -1, bias: 0 }] },
    { logitBias: [{ tokenId: 1, bias: -Infinity }] },
    { topLogprobs: 21 },
    { minTokens: -1 },
  ])('refuses %j', (wrong) => {
    expect(samplingSchema.safeParse(NOTHING).success).toBe(true);
    const { error } = samplingSchema.safeParse({ ...NOTHING, ...wrong });
    expect(error?.issues[0]?.path[0]).toBe(Object.keys(wrong)[0]);
  });
});
