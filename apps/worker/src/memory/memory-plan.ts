import { totalmem } from 'node:os';
import { constrainedMemory } from 'node:process';

import { KvcError } from '@kvcapsule/contracts/errors';
import type { MemoryNeed } from '@kvcapsule/engine';

const MIB = 2 ** 20;
/**
 * Node and the addon as they run: 62 MiB of code and libraries, 48 MiB of JavaScript's heap with the tokenizer, 20 MiB
 * of C++'s; and what requests and their streams hold besides pages and features.
 */
const RUNTIME_BYTES = 144 * MIB;

export interface MemoryDemand {
  /** As the engine describes it. */
  readonly engine: MemoryNeed;
  readonly poolBlocks: number;
  /** Pages kept outside the pool, at most. */
  readonly swapBytes: number;
  readonly encoderCacheBytes: number;
}

/** Bytes by what they are for. */
export type MemoryPlan = Readonly<
  Record<
    | 'weights'
    | 'pool'
    | 'swap'
    | 'encoder_cache'
    | 'profiles'
    | 'workspace'
    | 'threads'
    | 'pictures'
    | 'runtime',
    number
  >
>;

/** What a worker's memory will be made of when everything in it is full. */
export function memoryPlan(demand: MemoryDemand): MemoryPlan {
  const { engine, poolBlocks, swapBytes, encoderCacheBytes } = demand;
  return {
    weights: engine.weights,
    pool: poolBlocks * engine.block,
    swap: swapBytes,
    encoder_cache: encoderCacheBytes,
    profiles: engine.profiles,
    workspace: engine.workspace,
    threads: engine.threads,
    pictures: engine.tiles,
    runtime: RUNTIME_BYTES,
  };
}

interface Context {
  readonly contextTokens: number;
  readonly blockTokens: number;
}

/** Of small models. */
const LEAST_DEFAULT_MIB = 512;
/** Of what the limit leaves: pages of the file that weights are read from and heaps that breathe take some, too. */
const DEFAULT_SHARE = 0.9;

/**
 * The pool where none is asked for: one request of the whole context fits as raw rows, at real size too, unless the
 * memory has no room for that; then as much as there is.
 *
 * @param others the plan's bytes without a pool
 */
export function defaultPoolMib(
  { block }: Pick<MemoryNeed, 'block'>,
  { contextTokens, blockTokens }: Context,
  others: number,
  limit: MemoryLimit,
): number {
  const context = Math.ceil((Math.ceil(contextTokens / blockTokens) * block) / MIB);
  const room = Math.floor((DEFAULT_SHARE * limit.bytes - others) / MIB);
  const wanted = Math.max(LEAST_DEFAULT_MIB, context);
  // without any room the plan is refused, with all its parts
  return room < 1 ? wanted : Math.max(Math.ceil(block / MIB), Math.min(wanted, room));
}

/** Whole blocks that fit. Throws `CONFIG_INVALID` when none does. */
export function poolBlocks(poolMib: number, { block }: Pick<MemoryNeed, 'block'>): number {
  const blocks = Math.floor((poolMib * MIB) / block);
  if (blocks < 1)
    throw new KvcError('CONFIG_INVALID', `--pool-mib ${poolMib} is less than one block of this model.`);
  return blocks;
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

/** Throws `CONFIG_INVALID` with all parts and settings that would fit, when the plan is more than the limit. */
export function checkMemoryPlan(plan: MemoryPlan, limit: MemoryLimit): void {
  const total = plannedBytes(plan);
  if (total <= limit.bytes) return;
  const parts = Object.entries(plan).map(([part, bytes]) => `${part.replaceAll('_', ' ')} ${mib(bytes)}`);
  throw new KvcError(
    'CONFIG_INVALID',
    `The worker would need ${mib(total)} of memory (${parts.join(', ')}); the ${limit.of} has ${mib(limit.bytes)}. ${advice(plan, limit)}`,
  );
}

/** What would fit: a smaller pool, or one without anything beside it that can be done without. */
function advice(plan: MemoryPlan, limit: MemoryLimit): string {
  const poolMib = Math.floor((limit.bytes - (plannedBytes(plan) - plan.pool)) / MIB);
  if (poolMib >= 1) return `--pool-mib ${poolMib} would fit.`;
  const aloneMib = poolMib + Math.floor((plan.swap + plan.encoder_cache) / MIB);
  if (aloneMib >= 1) return `--swap-mib 0 --encoder-cache-mib 0 --pool-mib ${aloneMib} would fit.`;
  return 'Not even a small pool would fit: choose smaller weights (--weights) or another model.';
}

/** The plan in whole MiB, for people. */
export function planMib(plan: MemoryPlan): Record<string, number> {
  return Object.fromEntries(Object.entries(plan).map(([part, bytes]) => [part, Math.ceil(bytes / MIB)]));
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / MIB)} MiB`;
}
