import type { BiasArrays, PenaltyArrays, StepPlan, StepResult } from '@kvcapsule/engine';
import type { LogitBias, SampledToken } from '@kvcapsule/serving';

import type { Generation } from './generation.js';

type SamplingArrays = Pick<
  StepPlan,
  'temperature' | 'topP' | 'topK' | 'seed' | 'minP' | 'topLogprobs' | 'penalties' | 'bias'
>;

export interface PlannedSample {
  readonly generation: Generation;
  /** Tokens of the answer before the one that is drawn. */
  readonly answered: number;
}

/** A step's sampling; features that no sample uses have no array. */
export function packSampling(samples: readonly PlannedSample[]): SamplingArrays {
  const sampling = samples.map(({ generation }) => generation.spec.sampling);
  const penalties = packPenalties(samples);
  const bias = packBias(samples);
  return {
    temperature: Float32Array.from(sampling, ({ temperature }) => temperature),
    topP: Float32Array.from(sampling, ({ topP }) => topP),
    topK: Int32Array.from(sampling, ({ topK }) => topK),
    seed: BigUint64Array.from(sampling, ({ seed }) => seed),
    ...(sampling.some(({ minP }) => minP > 0) && { minP: Float32Array.from(sampling, ({ minP }) => minP) }),
    ...(sampling.some(({ topLogprobs }) => topLogprobs !== undefined) && {
      topLogprobs: Int32Array.from(sampling, ({ topLogprobs }) => topLogprobs ?? -1),
    }),
    ...(penalties && { penalties }),
    ...(bias && { bias }),
  };
}

function packPenalties(samples: readonly PlannedSample[]): PenaltyArrays | undefined {
  const users = [...samples.entries()].flatMap(
    ([
      sample,
      {
        generation: { spec, penalised },
      },
    ]) => (penalised ? [{ sample, ...spec.sampling, ...arraysOf(penalised) }] : []),
  );
  if (users.length === 0) return undefined;
  return {
    samples: Int32Array.from(users, ({ sample }) => sample),
    factors: Float32Array.from(
      users.flatMap(({ presencePenalty, frequencyPenalty, repetitionPenalty }) => [
        presencePenalty,
        frequencyPenalty,
        repetitionPenalty,
      ]),
    ),
    offsets: offsetsOf(users),
    tokens: join(
      Int32Array,
      users.map(({ tokens }) => tokens),
    ),
    counts: join(
      Int32Array,
      users.map(({ counts }) => counts),
    ),
  };
}

const arraysOf = ({ tokens, counts }: NonNullable<Generation['penalised']>) => ({ tokens, counts });

function packBias(samples: readonly PlannedSample[]): BiasArrays | undefined {
  const users = [...samples.entries()].flatMap(([sample, planned]) => {
    const bias = biasOf(planned);
    return bias ? [{ sample, ...bias }] : [];
  });
  if (users.length === 0) return undefined;
  return {
    samples: Int32Array.from(users, ({ sample }) => sample),
    offsets: offsetsOf(users),
    tokens: join(
      Int32Array,
      users.map(({ tokens }) => tokens),
    ),
    values: join(
      Float32Array,
      users.map(({ values }) => values),
    ),
  };
}

function biasOf({ generation, answered }: PlannedSample): LogitBias | undefined {
  const { bias, biasBeforeMin, minTokens } = generation.spec.sampling;
  return answered < minTokens ? biasBeforeMin : bias;
}

function offsetsOf(users: readonly { readonly tokens: Int32Array }[]): Int32Array {
  let end = 0;
  return Int32Array.from([0, ...users.map(({ tokens }) => (end += tokens.length))]);
}

interface Fillable<A> {
  readonly length: number;
  set(from: A, at: number): void;
}

function join<A extends Fillable<A>>(make: new (length: number) => A, parts: readonly A[]): A {
  const whole = new make(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What a step sampled, in the order of its plan's samples. */
export function readSamples(plan: StepPlan, result: StepResult): SampledToken[] {
  let at = 0;
  return Array.from(result.tokens, (tokenId, sample) => {
    const wanted = plan.topLogprobs?.[sample] ?? -1;
    if (wanted < 0) return { tokenId };
    const from = at;
    at += wanted;
    const top = Array.from(result.topTokens.subarray(from, at), (likely, rank) => ({
      tokenId: likely,
      logprob: result.topLogprobs[from + rank] ?? 0,
    }));
    return { tokenId, scores: { logprob: result.logprobs[sample] ?? 0, top } };
  });
}
