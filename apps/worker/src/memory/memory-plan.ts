import { totalmem } from 'node:os';
import { constrainedMemory } from 'node:process';

import { KvcError } from '@kvcapsule/contracts/errors';
import type { ModelSize } from '@kvcapsule/engine';

const MIB = 2 ** 20;
const FLOAT_BYTES = 4;
/** Node, the addon and what requests hold besides pages and features. */
const RUNTIME_BYTES = 160 * MIB;
/** Attention scores that the tower keeps at one time, at most; `native/src/model/vision_tower.cc`. */
const TOWER_SCORE_FLOATS = 32 * MIB;

export interface MemoryDemand {
  readonly size: ModelSize;
  /** Bytes of one weight in memory. */
  readonly weightBytes: number;
  readonly poolBytes: number;
  /** Pages kept outside the pool, at most. */
  readonly swapBytes: number;
  readonly encoderCacheBytes: number;
  /** Bases and templates of all profiles. */
  readonly profileBytes: number;
  readonly maxStepTokens: number;
  readonly maxRunning: number;
  /** Tiles that may be encoded in one slice. */
  readonly tiles: number;
}

/** Bytes by what they are for. */
export type MemoryPlan = Readonly<
  Record<'weights' | 'pool' | 'swap' | 'encoder_cache' | 'profiles' | 'workspace' | 'runtime', number>
>;

/** What a worker's memory will be made of when everything in it is full. */
export function memoryPlan(demand: MemoryDemand): MemoryPlan {
  const { size, weightBytes, poolBytes, swapBytes, encoderCacheBytes, profileBytes } = demand;
  return {
    weights: size.parameters * weightBytes,
    pool: poolBytes,
    swap: swapBytes,
    encoder_cache: encoderCacheBytes,
    profiles: profileBytes,
    workspace: Math.max(stepFloats(demand), towerFloats(demand)) * FLOAT_BYTES,
    runtime: RUNTIME_BYTES,
  };
}

/** A step's rows: input, residual, queries, keys, values and output, two of the wide ones, and the logits. */
function stepFloats({ size, maxStepTokens, maxRunning }: MemoryDemand): number {
  return maxStepTokens * (6 * size.hidden + 2 * size.intermediate) + 2 * maxRunning * size.vocab;
}

/** The same of the tower's patches, and their attention scores before and after the softmax. */
function towerFloats({ size: { vision }, tiles }: MemoryDemand): number {
  const scores = vision.patches ** 2 * vision.heads;
  const together = Math.max(1, Math.min(tiles, Math.floor(TOWER_SCORE_FLOATS / scores)));
  return together * (vision.patches * (6 * vision.hidden + 2 * vision.intermediate) + 2 * scores);
}

export interface MemoryLimit {
  readonly bytes: number;
  readonly of: 'machine' | 'cgroup';
}

/** What this process may use: the machine's memory, or its control group's where that is less. */
export function memoryLimit(machine = totalmem(), group = constrainedMemory()): MemoryLimit {
  return group > 0 && group < machine ? { bytes: group, of: 'cgroup' } : { bytes: machine, of: 'machine' };
}

export const plannedBytes = (plan: MemoryPlan): number =>
  Object.values(plan).reduce((sum, bytes) => sum + bytes, 0);

/** Throws `CONFIG_INVALID` with all parts and a pool that would fit, when the plan is more than the limit. */
export function checkMemoryPlan(plan: MemoryPlan, limit: MemoryLimit): void {
  const total = plannedBytes(plan);
  if (total <= limit.bytes) return;
  const parts = Object.entries(plan).map(([part, bytes]) => `${part.replaceAll('_', ' ')} ${mib(bytes)}`);
  const poolMib = Math.floor((limit.bytes - (total - plan.pool)) / MIB);
  const advice =
    poolMib >= 1
      ? `--pool-mib ${poolMib} would fit.`
      : 'Not even a small pool would fit: choose smaller weights (--weights) or another model.';
  throw new KvcError(
    'CONFIG_INVALID',
    `The worker would need ${mib(total)} of memory (${parts.join(', ')}); the ${limit.of} has ${mib(limit.bytes)}. ${advice}`,
  );
}

/** The plan in whole MiB, for people. */
export function planMib(plan: MemoryPlan): Record<string, number> {
  return Object.fromEntries(Object.entries(plan).map(([part, bytes]) => [part, Math.ceil(bytes / MIB)]));
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / MIB)} MiB`;
}
