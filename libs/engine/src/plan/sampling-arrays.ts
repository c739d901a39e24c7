import type { InputSample } from '@kvcapsule/domain/model-input';

import type { BiasArrays, PenaltyArrays, StepPlan, StepResult } from '../native.js';

type SamplingArrays = Pick<
  StepPlan,
  'temperature' | 'topP' | 'topK' | 'seed' | 'minP' | 'topLogprobs' | 'penalties' | 'bias'
>;

/** A step's sampling; features that no sample uses have no array. */
export function packSampling(samples: readonly InputSample[]): SamplingArrays {
  const penalties = packPenalties(samples);
  const bias = packBias(samples);
  return {
    temperature: Float32Array.from(samples, ({ temperature }) => temperature),
    topP: Float32Array.from(samples, ({ topP }) => topP),
    topK: Int32Array.from(samples, ({ topK }) => topK),
    seed: BigUint64Array.from(samples, ({ seed }) => seed),
    ...(samples.some(({ minP }) => minP > 0) && { minP: Float32Array.from(samples, ({ minP }) => minP) }),
    ...(samples.some(({ topLogprobs }) => topLogprobs !== undefined) && {
      topLogprobs: Int32Array.from(samples, ({ topLogprobs }) => topLogprobs ?? -1),
    }),
    ...(penalties && { penalties }),
    ...(bias && { bias }),
  };
}

function packPenalties(samples: readonly InputSample[]): PenaltyArrays | undefined {
  const users = samples.flatMap(({ penalties }, sample) => (penalties ? [{ sample, ...penalties }] : []));
  if (users.length === 0) return undefined;
  const factors = users.flatMap(({ presence, frequency, repetition }) => [presence, frequency, repetition]);
  return {
    samples: Int32Array.from(users, ({ sample }) => sample),
    factors: Float32Array.from(factors),
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

function packBias(samples: readonly InputSample[]): BiasArrays | undefined {
  const users = samples.flatMap(({ bias }, sample) => (bias ? [{ sample, ...bias }] : []));
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

/** What a step drew for one sample. */
export interface DrawnToken {
  readonly tokenId: number;
  /** Only where log-probabilities were wanted; the likeliest tokens come first. */
  readonly scores?: {
    readonly logprob: number;
    readonly top: readonly { readonly tokenId: number; readonly logprob: number }[];
  };
}

/** What a step drew, in the order of its plan's samples. */
export function readSamples(plan: Pick<StepPlan, 'topLogprobs'>, result: StepResult): DrawnToken[] {
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
