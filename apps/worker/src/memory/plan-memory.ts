import { BLOCK_SHAPE } from '@kvcapsule/domain/paging';
import type { MemoryNeed, WeightType } from '@kvcapsule/engine';
import type { ModelFolder } from '@kvcapsule/model';
import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import { PARALLEL_PICTURES } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import type { WorkerConfig } from '../config.js';
import {
  checkMemoryPlan,
  defaultPoolMib,
  memoryLimit,
  memoryPlan,
  type MemoryPlan,
  planMib,
  plannedBytes,
  poolBlocks,
} from './memory-plan.js';

const MIB = 2 ** 20;

/** Type that weights are held in. */
export function weightType({ weights }: Pick<WorkerConfig, 'weights'>, stored: WeightType): WeightType {
  return weights === 'auto' ? stored : weights;
}

/** Tiles of as many pictures as are encoded at once, each of the grid with most tiles. */
export function mostTiles(folder: Pick<ModelFolder, 'pictureSpans' | 'tokensPerTile'>): number {
  const imageTokens = Math.max(...folder.pictureSpans().map((span) => span.imageTokens));
  return (PARALLEL_PICTURES * imageTokens) / folder.tokensPerTile;
}

/** What a worker with these settings will need. */
export function planMemory(config: WorkerConfig, engine: MemoryNeed, blocks: number): MemoryPlan {
  return memoryPlan({
    engine,
    poolBlocks: blocks,
    swapBytes: config.swapMib * MIB,
    encoderCacheBytes: config.encoderCacheMib * MIB,
  });
}

/** Blocks of the pool that is asked for, or of the default one. */
export function plannedBlocks(config: WorkerConfig, engine: MemoryNeed, contextTokens: number): number {
  const { blockTokens } = BLOCK_SHAPE;
  const others = plannedBytes(planMemory(config, engine, 0));
  const poolMib =
    config.poolMib ?? defaultPoolMib(engine, { contextTokens, blockTokens }, others, memoryLimit());
  return poolBlocks(poolMib, engine);
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
