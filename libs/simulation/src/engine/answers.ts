import type { StepPlan } from '@kvcapsule/engine';
import { biasOf, mix, seedOf } from '@kvcapsule/testing/engine';

export interface AnswerTokens {
  /** That answers are made of. */
  readonly ordinary: readonly number[];
  /** That ends an answer. */
  readonly end: number;
  /** Of an answer that nothing else ends; Infinity: only limits end one. */
  readonly meanTokens: number;
}

/** A bias from here on decides. */
const DECIDES = 100;
const MANY = 2 ** 32;

/**
 * The token behind a row: a function of the row's state and the request's seed, the same on every worker and in any
 * batch. Each token ends its answer with the same chance.
 */
export function drawToken(
  plan: StepPlan,
  sample: number,
  state: number,
  answers: AnswerTokens,
  vocab: number,
): number {
  const hash = mix(state, seedOf(plan, sample));
  const bias = biasOf(plan, sample, vocab);
  for (const [token, value] of bias) if (value >= DECIDES) return token;
  const { ordinary, end, meanTokens } = answers;
  if (mix(hash, 1) < MANY / meanTokens && bias.get(end) !== -Infinity) return end;
  const allowed = bias.size === 0 ? ordinary : ordinary.filter((token) => bias.get(token) !== -Infinity);
  return allowed[mix(hash, 2) % allowed.length] ?? end;
}
