import type { TraceContext } from './trace-context.js';

/** Whether a request from outside is recorded. */
export type Sampler = (parent: TraceContext | undefined) => boolean;

/**
 * As `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say; by default all are, but those whose client records
 * nothing.
 *
 * @param random from 0 to 1
 */
export function samplerOf(env: NodeJS.ProcessEnv, random: () => number): Sampler {
  const name = env['OTEL_TRACES_SAMPLER'] ?? 'parentbased_always_on';
  const share = Number(env['OTEL_TRACES_SAMPLER_ARG'] ?? 1);
  const ratio = share >= 0 && share <= 1 ? share : 1;
  const own: Record<string, () => boolean> = {
    always_on: () => true,
    always_off: () => false,
    traceidratio: () => random() < ratio,
  };
  const decide = own[name.replace('parentbased_', '')] ?? (() => true);
  return name.startsWith('parentbased_') ? (parent) => parent?.isSampled ?? decide() : decide;
}
