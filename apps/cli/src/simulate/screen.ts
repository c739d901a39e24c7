import { resolve } from 'node:path';
import { ROOT } from '../paths.js';

export interface StartedSimulation {
  readonly workers: number;
  readonly model: string;
  readonly modelFolder: string;
  readonly speedup: number;
  /** Of the private Redis; absent where a router's is used. */
  readonly privateUrl: string | undefined;
}

/** What a person sees once all workers are registered. */
export function startedScreen(started: StartedSimulation): string {
  const { workers, model, speedup } = started;
  const router = `${ROOT}/kvcapsule serve router --model ${resolve(started.modelFolder)}`;
  // the URL of a Redis that is not ours may hold a password, which is not printed
  const redis = `KVCAPSULE_REDIS=${started.privateUrl ?? "'URL of that Redis'"}`;
  return `
${workers} simulated workers of ${model}, ${speedup === 1 ? '' : `${speedup} times `}as fast as the measured engine

A router for them:
  ${redis} ${router}

Stop: Ctrl-C
`;
}

/** Counts of a metric by the value of its one label. */
export type Counts = ReadonlyMap<string, number>;

/** What all workers have done. */
export function endedLine(requests: Counts, tokens: Counts): string {
  const sum = [...requests.values()].reduce((total, count) => total + count, 0);
  const reasons = [...requests].map(([reason, count]) => `${count} ${reason}`).join(', ');
  const of = (kind: string): number => tokens.get(kind) ?? 0;
  return (
    `${sum} requests ended${reasons === '' ? '' : ` (${reasons})`}; ` +
    `${of('prompt')} prompt tokens, ${of('completion')} answer tokens\n`
  );
}
