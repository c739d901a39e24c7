import { type ModelSize, type NativeDtype, profileMemoryBytes } from '@kvcapsule/engine';
import type { ModelFolder } from '@kvcapsule/model';
import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import { PARALLEL_PICTURES } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import type { WorkerConfig } from '../config.js';
import { checkMemoryPlan, memoryLimit, memoryPlan, type MemoryPlan, planMib } from './memory-plan.js';
import { DTYPE_BYTES } from './pool-size.js';

const MIB = 2 ** 20;
/** A picture of this size has as many tiles as one can have, whatever its shape. */
const LARGE_EDGE = 4096;

/** Type that weights are held in. */
export function weightType({ weights }: WorkerConfig, { dtype }: ModelSize): NativeDtype {
  return weights === 'auto' ? dtype : weights;
}

export interface Opened {
  readonly size: ModelSize;
  readonly weights: NativeDtype;
  readonly folder: ModelFolder;
  readonly profiles: readonly string[];
  readonly poolBytes: number;
}

/** What a worker with these settings will need. Reads sizes only; nothing is loaded. */
export async function planMemory(config: WorkerConfig, opened: Opened): Promise<MemoryPlan> {
  const { folder, profiles, poolBytes, size, weights } = opened;
  // one that is not there is named when the engine opens
  const profileBytes = await Promise.all(profiles.map(profileMemoryBytes));
  const { imageTokens } = folder.pictureSpan(LARGE_EDGE, LARGE_EDGE);
  return memoryPlan({
    size,
    weightBytes: DTYPE_BYTES[weights],
    poolBytes,
    swapBytes: config.swapMib * MIB,
    encoderCacheBytes: config.encoderCacheMib * MIB,
    profileBytes: profileBytes.reduce((sum, bytes) => sum + bytes, 0),
    maxStepTokens: config.maxStepTokens,
    maxRunning: config.maxRunning,
    tiles: (PARALLEL_PICTURES * imageTokens) / folder.tokensPerTile,
  });
}

/** Says the plan in log and metrics, and throws `CONFIG_INVALID` when it cannot fit. */
export function reportMemory(plan: MemoryPlan, metrics: WorkerMetrics, logger: Logger): void {
  const limit = memoryLimit();
  for (const [part, bytes] of Object.entries(plan)) metrics.memoryPlan.set({ part }, bytes);
  metrics.memoryLimit.set(limit.bytes);
  logger.info(
    { planMib: planMib(plan), limitMib: Math.floor(limit.bytes / MIB), of: limit.of },
    'memory plan',
  );
  checkMemoryPlan(plan, limit);
}
