import type { RunPlan } from '../run/index.js';
import { Pictures, type WorkloadSource } from '../workload/index.js';

/** A load as it is told to processes. It holds the API key among its headers: never log it, never store it. */
export interface LoadSpec {
  readonly baseUrl: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  readonly extraBody: Readonly<Record<string, unknown>>;
  readonly silenceMs: number;
  readonly plan: Omit<RunPlan, 'shard'>;
  readonly source: WorkloadSource;
}

/** The pictures of a load, those that are asked for again made beforehand. */
export function picturesOf({ source, plan }: LoadSpec): Pictures {
  const mix = source.kind === 'generated' ? source.mix.pictures : undefined;
  const pictures = new Pictures(plan.seed, mix ?? { width: 1, height: 1 });
  pictures.prepare(mix?.distinct ?? 0);
  return pictures;
}
