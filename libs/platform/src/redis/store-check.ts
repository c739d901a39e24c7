import { KvcError } from '@kvcapsule/contracts';

import { adviceOn } from './advice.js';
import { nodesOf } from './connection.js';
import { REGISTRY_KEYS, workerKeys } from './keys.js';
import type { RedisClient } from './scripts.js';
import { type Info, infoOf, nothingIfForbidden } from './store-info.js';
import type { RedisKind } from './url.js';

type Node = ReturnType<typeof nodesOf>[number];

/**
 * Whether the store can hold the ledger. Rejects with the reason and what to do: a store that evicts keys takes leases
 * away that pages stand behind, one of another arrangement refuses every script, a replica every write, and a user
 * without rights some of them.
 *
 * @param told the store, without secrets
 * @param warn takes a line about what could not be found out
 */
export async function checkStore(
  client: RedisClient,
  kind: RedisKind,
  told: string,
  warn: (line: string) => void,
): Promise<void> {
  for (const node of nodesOf(client)) {
    const info = await infoOf(node);
    checkArrangement(info, kind, told);
    checkPolicy(await policyOf(node, info), told, warn);
  }
  await checkRights(client, told);
}

/** Undefined where the user may ask neither. */
export async function policyOf(node: Node, info: Info): Promise<string | undefined> {
  return info['maxmemory_policy'] ?? (await configuredPolicy(node));
}

async function configuredPolicy(node: Node): Promise<string | undefined> {
  const answer = await node.config('GET', 'maxmemory-policy').catch(nothingIfForbidden);
  return answer?.[1];
}

function checkArrangement(info: Info, kind: RedisKind, told: string): void {
  // Valkey's word is the second
  const mode = info['redis_mode'] ?? info['server_mode'];
  if (mode === 'cluster' && kind !== 'cluster')
    throw refused(
      `Redis at ${told} is a node of a Redis Cluster: use redis-cluster:// in place of ${kind === 'sentinel' ? 'redis-sentinel://' : 'redis://'}.`,
    );
  if (mode === 'sentinel')
    throw refused(`What answers at ${told} is a Sentinel: use redis-sentinel://HOST,HOST/NAME.`);
  if (info['role'] === 'slave')
    throw new KvcError(
      'LEDGER_UNAVAILABLE',
      `Redis at ${told} is a replica and takes no writes: name the master, or its Sentinels with redis-sentinel://HOST,HOST/NAME.`,
    );
}

function checkPolicy(policy: string | undefined, told: string, warn: (line: string) => void): void {
  if (policy === 'noeviction') return;
  if (policy === undefined) {
    warn(
      `Redis at ${told} does not say its maxmemory-policy, neither in INFO nor in CONFIG GET: make sure that it is noeviction`,
    );
    return;
  }
  throw refused(
    `Redis at ${told} removes keys when its memory is full (maxmemory-policy ${policy}), and a lease removed is a page ` +
      'promised twice: set maxmemory-policy noeviction there (CONFIG SET maxmemory-policy noeviction, and in its configuration).',
  );
}

export interface StoreMemory {
  readonly usedBytes: number;
  /** 0: as much as there is. */
  readonly limitBytes: number;
}

export interface StoreState {
  /** By which keys are removed when the memory is full; undefined where none are, or the store does not say. */
  readonly evictingPolicy: string | undefined;
  /** Of all nodes together; undefined where one does not say. */
  readonly memory: StoreMemory | undefined;
}

/** How the store is set up and how full it is. */
export async function stateOf(client: RedisClient): Promise<StoreState> {
  let evictingPolicy: string | undefined;
  const memories: StoreMemory[] = [];
  const nodes = nodesOf(client);
  for (const node of nodes) {
    const info = await infoOf(node);
    const policy = await policyOf(node, info);
    if (policy !== 'noeviction') evictingPolicy ??= policy;
    const usedBytes = Number(info['used_memory'] ?? NaN);
    if (Number.isFinite(usedBytes)) memories.push({ usedBytes, limitBytes: Number(info['maxmemory'] ?? 0) });
  }
  const sum = (of: keyof StoreMemory) => memories.reduce((total, memory) => total + memory[of], 0);
  const isKnown = memories.length > 0 && memories.length === nodes.length;
  const memory = isKnown ? { usedBytes: sum('usedBytes'), limitBytes: sum('limitBytes') } : undefined;
  return { evictingPolicy, memory };
}

/** What scripts and adapters run; INFO may be forbidden. */
export const RIGHTS: readonly string[] = [
  ...['eval', 'evalsha', 'get', 'set', 'del', 'exists', 'type', 'time', 'pexpire', 'pttl'],
  ...['hget', 'hmget', 'hgetall', 'hset', 'hdel', 'hincrby', 'hlen'],
  ...['zadd', 'zrem', 'zscore', 'zrangebyscore', 'zremrangebyscore', 'zremrangebyrank'],
  ...['xadd', 'xrange', 'xrevrange', 'xread'],
];

/**
 * A right that is missing shows here, and not with the first request that needs it. The first script writes nothing, and
 * is refused where nothing may be written.
 */
async function checkRights(client: RedisClient, told: string): Promise<void> {
  try {
    await client.kvcLook(REGISTRY_KEYS.loads);
    const lacking = await client.kvcLacks(REGISTRY_KEYS.loads, workerKeys('worker').info, ...RIGHTS);
    if (lacking.length > 0) throw new Error(`NOPERM ${lacking.join(', ')} on keys of the ledger`);
  } catch (error) {
    const words = error instanceof Error ? error.message : 'unknown';
    const advice = adviceOn(words) ?? 'every verb of the ledger is one';
    throw new KvcError(
      'LEDGER_UNAVAILABLE',
      `Redis at ${told} does not run the ledger’s scripts (${words}): ${advice}.`,
    );
  }
}

const refused = (message: string) => new KvcError('CONFIG_INVALID', message);
