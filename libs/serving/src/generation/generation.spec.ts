import { cacheDomain } from '@kvcapsule/domain/identity';
import { describe, expect, it } from 'vitest';

import { Generation } from './generation.js';
import type { GenerationSpec } from './request.js';
import { toSampling } from './sampling.js';
import type { TextStream } from './text-stream.js';

/** A text without stop strings. */
const TEXT = { push: () => ({ text: '', stopped: false, logprobs: [] }) } as unknown as TextStream;
const NO_END = new Set<number>();

function generationOf(sampling: Partial<GenerationSpec['sampling']> = {}): Generation {
  const spec: GenerationSpec = {
    ...{ requestId: 'r', clientRequestId: 'c', lease: undefined, promptTokenIds: [5, 6, 5], pictures: [] },
    resumedTokenIds: [],
    sampling: { ...toSampling(undefined, 64, new Set()), ...sampling },
    ...{ stop: [], text: undefined, textUnderPressure: undefined, maxTokens: 9, remainingMs: undefined },
    ...{ tenant: 't', tenantWeight: 1, domain: cacheDomain('t', ''), priority: 0 },
  };
  return new Generation('r#1', 'r', spec, TEXT);
}

describe('Generation', () => {
  it('tells prompt and answer apart, and leaves the request as it was', () => {
    const generation = generationOf();
    generation.accept({ tokenId: 9 }, NO_END);
    expect(generation).toMatchObject({ promptTokens: 3, completionTokens: 1, tokenIds: [5, 6, 5, 9] });
    expect(generation.spec.promptTokenIds).toEqual([5, 6, 5]);
    const { pictures, domain } = generation.spec;
    expect(generation).toMatchObject({ pictures, domain, started: false, ended: false });
    expect(generation.ids).toEqual({ requestId: 'r', clientRequestId: 'c' });
  });

  it.each<[Partial<GenerationSpec['sampling']>, number[] | undefined]>([
    [{}, undefined],
    [{ presencePenalty: 0.5 }, [9]],
    [{ frequencyPenalty: -0.5 }, [9]],
    [{ repetitionPenalty: 1.1 }, [5, 6, 9]],
    [{ repetitionPenalty: 1.1, presencePenalty: 1 }, [5, 6, 9]],
  ])(
    'counts for %j the tokens %j, those of the prompt for a repetition penalty alone',
    (sampling, tokens) => {
      const generation = generationOf(sampling);
      generation.accept({ tokenId: 9 }, NO_END);
      expect(generation.penalised && [...generation.penalised.tokens]).toEqual(tokens);
      if (tokens) expect(generation.penalised?.counts.at(-1)).toBe(1);
    },
  );
});
