import {
  DRAWN_BEFORE,
  type InputChunk,
  type InputPenalties,
  type InputSample,
  type ModelInput,
} from '@kvcapsule/domain/model-input';
import type { ScheduledStep, StepChunk } from '@kvcapsule/domain/scheduling';

import type { Generation } from '../generation/generation.js';

type Find = (id: string) => Generation;

/**
 * Adds token ids, features and sampling to a scheduled step. A token that is not known yet is the one that the step
 * under way draws.
 */
export function modelInput(step: ScheduledStep, find: Find): ModelInput {
  const newest = new Map<string, number>();
  const chunks = step.chunks.map((chunk) => {
    newest.set(chunk.id, chunk.start + chunk.rows);
    return inputChunk(chunk, find(chunk.id));
  });
  const samples = step.samples.map(({ id, row }) => {
    const generation = find(id);
    return inputSample(row, generation, (newest.get(id) ?? 0) - generation.promptTokens);
  });
  return { changes: step.changes, chunks, samples };
}

function inputChunk(chunk: StepChunk, generation: Generation): InputChunk {
  const { slot, segment, start, rows } = chunk;
  const tokens = Array.from({ length: rows }, (_, row) => generation.tokenIds[start + row] ?? DRAWN_BEFORE);
  const place = { slot, segment, firstIndex: start, firstPosition: start, tokens };
  if (chunk.picture === undefined) return place;
  const picture = generation.pictures[chunk.picture];
  const handle = generation.features.get(chunk.picture)?.handle;
  if (!picture || handle === undefined) throw new Error('a picture is scheduled without its features');
  const from = start - picture.offset;
  return { ...place, features: { handle, rows: picture.featureRows.subarray(from, from + rows) } };
}

/** @param answered tokens of the answer before the one that is drawn */
function inputSample(row: number, generation: Generation, answered: number): InputSample {
  const { temperature, topP, topK, minP, seed, topLogprobs, ...sampling } = generation.spec.sampling;
  const bias = answered < sampling.minTokens ? sampling.biasBeforeMin : sampling.bias;
  return {
    ...{ row, temperature, topP, topK, minP, seed, topLogprobs, bias },
    penalties: penaltiesOf(generation),
  };
}

function penaltiesOf({ penalised, spec }: Generation): InputPenalties | undefined {
  if (!penalised) return undefined;
  const { presencePenalty: presence, frequencyPenalty: frequency, repetitionPenalty } = spec.sampling;
  const { tokens, counts } = penalised;
  return { presence, frequency, repetition: repetitionPenalty, tokens, counts };
}
