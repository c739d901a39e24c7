import { KvcError } from '@kvcapsule/contracts/errors';
import type { LogitBias } from '@kvcapsule/domain/model-input';
import { z } from 'zod';

/** How a request's tokens are drawn. Randomness is a function of (seed, position) alone. */
export interface Sampling {
  /** 0 = greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off, as for `minP`. */
  readonly topK: number;
  readonly minP: number;
  readonly seed: bigint;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** 1 = off. */
  readonly repetitionPenalty: number;
  readonly bias: LogitBias | undefined;
  /** The same with all end tokens forbidden, for the tokens before `minTokens`. */
  readonly biasBeforeMin: LogitBias | undefined;
  /** Log-probabilities are wanted, and of so many of the likeliest tokens. */
  readonly topLogprobs: number | undefined;
  readonly minTokens: number;
  readonly ignoreEos: boolean;
}

/** What a request says about its sampling; the wire's names, `undefined` or 0 where a field says nothing. */
export type RequestedSampling = z.input<typeof samplingSchema> & {
  readonly seed: bigint;
  readonly ignoreEos: boolean;
};

const count = z.number().int().nonnegative();
const penalty = z.number().min(-1000).max(1000);

export const samplingSchema = z.object({
  temperature: z.number().finite().nonnegative(),
  topP: z.number().finite().min(0).max(1),
  topK: count,
  minP: z.number().min(0).max(1),
  presencePenalty: penalty,
  frequencyPenalty: penalty,
  repetitionPenalty: z.union([z.literal(0), z.number().min(0.001).max(1000)]),
  logitBias: z.array(z.object({ tokenId: count, bias: z.number().min(-1e6).max(1e6) })),
  topLogprobs: count.max(20).optional(),
  minTokens: count,
});

/**
 * What a request's sampling means here.
 *
 * @throws KvcError INVALID_REQUEST for a biased token that the model does not have
 */
export function toSampling(
  wire: RequestedSampling | undefined,
  vocab: number,
  endTokens: ReadonlySet<number>,
): Sampling {
  const { temperature = 0, topP = 1, topK = 0, minP = 0, seed = 0n, minTokens = 0 } = wire ?? {};
  const bias = new Map((wire?.logitBias ?? []).map((entry) => [entry.tokenId, entry.bias]));
  const unknown = [...bias.keys()].find((token) => token >= vocab);
  if (unknown !== undefined) {
    const message = `The model has no token ${unknown}: ids are below ${vocab}.`;
    throw new KvcError('INVALID_REQUEST', message, { param: 'logit_bias' });
  }
  const forbidden = [...endTokens].filter((token) => token < vocab);
  return {
    temperature: topP === 0 ? 0 : temperature,
    topP: topP === 0 ? 1 : topP,
    topK,
    minP,
    seed,
    presencePenalty: wire?.presencePenalty ?? 0,
    frequencyPenalty: wire?.frequencyPenalty ?? 0,
    repetitionPenalty: wire?.repetitionPenalty || 1,
    bias: bias.size > 0 ? arraysOf(bias) : undefined,
    biasBeforeMin:
      minTokens > 0
        ? arraysOf(new Map([...bias, ...forbidden.map((token) => [token, -Infinity] as const)]))
        : undefined,
    topLogprobs: wire?.topLogprobs === undefined ? undefined : Math.min(wire.topLogprobs, vocab),
    minTokens,
    ignoreEos: wire?.ignoreEos ?? false,
  };
}

function arraysOf(bias: ReadonlyMap<number, number>): LogitBias {
  const entries = [...bias].sort(([a], [b]) => a - b);
  return {
    tokens: Int32Array.from(entries, ([token]) => token),
    values: Float32Array.from(entries, ([, value]) => value),
  };
}
