import type { TraceContext } from './trace-context.js';

/** Whether a request from outside is recorded. */
export type Sampler = (parent: TraceContext | undefined) => boolean;

const OWN = ['always_on', 'always_off', 'traceidratio'] as const;

/** OpenTelemetry's names; `parentbased_` ones go by what the client says, where it says something. */
export const SAMPLERS = [...OWN, ...OWN.map((name) => `parentbased_${name}` as const)] as const;

export interface SamplerSettings {
  readonly name: (typeof SAMPLERS)[number];
  /** From 0 to 1, for those that take a share. */
  readonly ratio: number;
}

/** @param random from 0 to 1 */
export function samplerOf({ name, ratio }: SamplerSettings, random: () => number): Sampler {
  const own = {
    always_on: () => true,
    always_off: () => false,
    traceidratio: () => random() < ratio,
  };
  const decide = own[name.replace('parentbased_', '') as (typeof OWN)[number]];
  return name.startsWith('parentbased_') ? (parent) => parent?.isSampled ?? decide() : decide;
}
