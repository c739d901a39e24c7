import type { Redis } from 'ioredis';

import { nodesOf } from './connection.js';
import type { RedisClient } from './scripts.js';
import { policyOf } from './store-check.js';
import { infoOf } from './store-info.js';

/** A server that holds keys of ours, as it describes itself; what its user may not ask is undefined. */
export interface StoreNode {
  readonly address: string;
  /** `Redis 7.0.15` or `Valkey 8.1.0`. */
  readonly version: string | undefined;
  readonly policy: string | undefined;
  /** Whether it writes what it holds to disk. */
  readonly isPersistent: boolean | undefined;
  readonly usedBytes: number | undefined;
  /** 0: as much as the machine has. */
  readonly maxBytes: number | undefined;
  /** By how much its clock is ahead of this process's; half the way there and back is not known. */
  readonly clockAheadMs: number;
}

/** Each server of a store that has passed its check. Rejects as a command does when one does not answer. */
export function describeStore(client: RedisClient, nowMs: () => number): Promise<StoreNode[]> {
  return Promise.all(nodesOf(client).map((node) => describeNode(node, nowMs)));
}

async function describeNode(node: Redis, nowMs: () => number): Promise<StoreNode> {
  const clockAheadMs = await clockAhead(node, nowMs);
  const info = await infoOf(node);
  const { valkey_version: valkey, redis_version: redis } = info;
  const version = valkey === undefined ? redis && `Redis ${redis}` : `Valkey ${valkey}`;
  return {
    address: `${String(node.options.host)}:${String(node.options.port)}`,
    version,
    policy: await policyOf(node, info),
    isPersistent: await persists(node, info['aof_enabled'] === '1'),
    usedBytes: numberOf(info['used_memory']),
    maxBytes: numberOf(info['maxmemory']),
    clockAheadMs,
  };
}

/** TIME is a right that the ledger's scripts need in any case. */
async function clockAhead(node: Redis, nowMs: () => number): Promise<number> {
  const sentMs = nowMs();
  const [seconds, micros] = await node.time();
  return Number(seconds) * 1000 + Number(micros) / 1000 - (sentMs + nowMs()) / 2;
}

/** Snapshots are on where `save` names a time; who may not ask for it is told nothing. */
async function persists(node: Redis, appends: boolean): Promise<boolean | undefined> {
  if (appends) return true;
  const answer = await node.config('GET', 'save').catch(() => undefined);
  return answer === undefined ? undefined : answer[1] !== '';
}

const numberOf = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : Number(text);
