import { FILTERS } from './filters/index.js';
import { lowest, nearBest, roundRobin, twoChoices, uniform } from './pickers/index.js';
import type { Picker, Policy, Scorer } from './placement.js';
import { load, SCORERS } from './scorers/index.js';

interface PolicyKind {
  readonly scorers: readonly Scorer[];
  picker(): Picker;
}

const KINDS = {
  'cost-aware': { scorers: SCORERS, picker: () => nearBest },
  'power-of-two': { scorers: [load], picker: () => twoChoices },
  'least-loaded': { scorers: [load], picker: () => lowest },
  'round-robin': { scorers: [], picker: roundRobin },
  random: { scorers: [], picker: () => uniform },
} as const satisfies Record<string, PolicyKind>;

export type PolicyName = keyof typeof KINDS;

/** Every policy; the first is the default, the last three are what it is compared with. */
export const POLICY_NAMES = Object.keys(KINDS) as [PolicyName, ...PolicyName[]];

/** Scorers that may be weighted. */
export const SCORER_NAMES: readonly string[] = SCORERS.map(({ name }) => name);

/** How much scorers count, by their names; 1 where nothing is said, 0 leaves one out. */
export type Weights = Readonly<Record<string, number>>;

/** A policy of its own: round-robin counts its turns. */
export function policyOf(name: PolicyName, weights: Weights = {}): Policy {
  const { scorers, picker } = KINDS[name];
  const weighted = scorers.map((scorer: Scorer) => ({ scorer, weight: weights[scorer.name] ?? 1 }));
  return { name, filters: FILTERS, scorers: weighted, picker: picker() };
}
