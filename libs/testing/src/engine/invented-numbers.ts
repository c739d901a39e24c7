import type { StepPlan, StepResult } from '@kvcapsule/engine';

/** Of two 32-bit numbers another one, which tells nothing of either. */
export function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** Seed of a sample as 32 bits; 0 where it is greedy. */
export function seedOf({ temperature, seed }: StepPlan, sample: number): number {
  return (temperature[sample] ?? 0) > 0 ? Number(BigInt.asUintN(32, seed[sample] ?? 0n)) : 0;
}

/** The bias of a sample by token. Throws for tokens that there are not. */
export function biasOf({ bias }: StepPlan, sample: number, vocab: number): ReadonlyMap<number, number> {
  const user = bias?.samples.indexOf(sample) ?? -1;
  if (!bias || user < 0) return NO_BIAS;
  const { offsets, tokens, values } = bias;
  const entries = new Map<number, number>();
  for (let at = offsets[user] ?? 0; at < (offsets[user + 1] ?? 0); at += 1)
    entries.set(tokens[at] ?? 0, values[at] ?? 0);
  for (const token of entries.keys()) if (token >= vocab) throw new Error('a bias of no token');
  return entries;
}

const NO_BIAS: ReadonlyMap<number, number> = new Map();

/** Log-probabilities that depend on the rows' states alone: raw, as an engine's are. */
export function logprobsOf(
  { topLogprobs: wanted = new Int32Array(), samples }: StepPlan,
  states: readonly number[],
  vocab: number,
): Pick<StepResult, 'logprobs' | 'topTokens' | 'topLogprobs'> {
  const stateOf = (sample: number): number => states[samples[sample] ?? 0] ?? 0;
  const ranks = Array.from(wanted).flatMap((count, sample) =>
    Array.from({ length: Math.max(0, count) }, (_, rank) => ({ state: stateOf(sample), rank })),
  );
  return {
    logprobs: Float32Array.from(wanted, (count, sample) => (count < 0 ? 0 : -(stateOf(sample) % 997) / 64)),
    topTokens: Int32Array.from(ranks, ({ state, rank }) => (state + rank) % vocab),
    topLogprobs: Float32Array.from(ranks, ({ state, rank }) => -(state % 31) / 64 - rank),
  };
}
