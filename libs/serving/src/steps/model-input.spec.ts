import type { ScheduledStep, StepChunk } from '@kvcapsule/domain/scheduling';
import { DRAWN_BEFORE } from '@kvcapsule/domain/model-input';
import { describe, expect, it } from 'vitest';

import { Generation } from '../generation/generation.js';
import type { GenerationSpec } from '../generation/request.js';
import { type Sampling, toSampling } from '../generation/sampling.js';
import type { TextStream } from '../generation/text-stream.js';
import type { Features } from '../pictures/encoder-cache.js';
import { modelInput } from './model-input.js';

/** A text without stop strings. */
const TEXT = { push: () => ({ text: '', stopped: false, logprobs: [] }) } as unknown as TextStream;

/** Four of text, a picture of four rows, two of text. */
const PROMPT = [10, 11, 12, 13, 5, 3, 3, 6, 14, 15];

function generationOf(sampling: Partial<Sampling> = {}): Generation {
  const spec = {
    ...{ promptTokenIds: PROMPT, sampling: { ...toSampling(undefined, 64, new Set()), ...sampling } },
    pictures: [{ offset: 4, length: 4, featureRows: Int32Array.of(-1, 0, 1, -1) }],
  } as unknown as GenerationSpec;
  const generation = new Generation('r#1', 'r', spec, TEXT);
  generation.features.set(0, { handle: 7 } as Features);
  return generation;
}

function inputOf(generation: Generation, chunk: Partial<StepChunk>, sampled = true) {
  const whole = { id: 'r#1', slot: 2, segment: 1, start: 0, rows: 1, picture: undefined, ...chunk };
  const samples = sampled ? [{ id: 'r#1', row: whole.rows - 1 }] : [];
  const step = { changes: [], chunks: [whole], samples } as unknown as ScheduledStep;
  return modelInput(step, () => generation);
}

describe('modelInput', () => {
  it('gives a chunk of text its tokens from where it begins', () => {
    const { chunks, samples } = inputOf(generationOf(), { start: 1, rows: 3 }, false);
    expect(chunks).toEqual([{ slot: 2, segment: 1, firstIndex: 1, firstPosition: 1, tokens: [11, 12, 13] }]);
    expect(samples).toEqual([]);
  });

  it('gives a part of a picture the rows of its features that belong to it', () => {
    const [chunk] = inputOf(generationOf(), { start: 6, rows: 2, picture: 0 }, false).chunks;
    expect(chunk).toMatchObject({ tokens: [3, 6], features: { handle: 7, rows: Int32Array.of(1, -1) } });
  });

  it('refuses a picture without its features, which would be computed as nothing', () => {
    const generation = generationOf();
    generation.features.clear();
    expect(() => inputOf(generation, { start: 4, rows: 4, picture: 0 })).toThrow('features');
  });

  it('leaves a token open that the step under way draws', () => {
    const generation = generationOf();
    generation.accept({ tokenId: 20 }, new Set());
    expect(inputOf(generation, { start: 10, rows: 1 }).chunks[0]?.tokens).toEqual([20]);
    expect(inputOf(generation, { start: 11, rows: 1 }).chunks[0]?.tokens).toEqual([DRAWN_BEFORE]);
  });

  it('forbids end tokens as long as the answer is too short, those counted that are still being drawn', () => {
    const forbidding = { tokens: Int32Array.of(2), values: Float32Array.of(-Infinity) };
    const bias = { tokens: Int32Array.of(9), values: Float32Array.of(1) };
    const generation = generationOf({ minTokens: 2, bias, biasBeforeMin: forbidding });
    const biases = [9, 10, 11].map((start) => inputOf(generation, { start }).samples[0]?.bias);
    expect(biases).toEqual([forbidding, forbidding, bias]);
  });

  it('draws as the request asks', () => {
    const asked = { temperature: 0.7, topP: 0.9, topK: 5, minP: 0.1, seed: 9n, topLogprobs: 3 };
    expect(inputOf(generationOf(asked), { start: 8, rows: 2 }).samples).toEqual([
      { row: 1, ...asked, bias: undefined, penalties: undefined },
    ]);
  });

  it('hands penalties on with what they count', () => {
    const generation = generationOf({
      presencePenalty: 0.5,
      frequencyPenalty: 0.25,
      repetitionPenalty: 1,
    });
    generation.accept({ tokenId: 20 }, new Set());
    expect(inputOf(generation, { start: 10 }).samples[0]?.penalties).toEqual({
      ...{ presence: 0.5, frequency: 0.25, repetition: 1 },
      ...{ tokens: Int32Array.of(20), counts: Int32Array.of(1) },
    });
  });
});
