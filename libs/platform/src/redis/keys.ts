/**
 * Every Redis key of the project. Form: `kvc:v1:{slot}:entity:id`; the slot is the worker's id, so that all
 * that one script changes sits in one hash slot of a Redis Cluster. `docs/reference/redis-keys.md` explains
 * the fields.
 */

const PREFIX = 'kvc:v1';

export interface WorkerKeys {
  /** String: the current epoch and the id of the process that holds it. TTL 24 h, renewed by heartbeats. Writers: register, heartbeat. */
  readonly epoch: string;
  /** Hash: record and account. TTL 6 s, renewed by heartbeats. Writers: every script but account. */
  readonly info: string;
  /** Hash: lease id → `r:PAGES` (reserved) or `c:PAGES` (committed). TTL that of info + 10 s. Writers: the ledger's scripts. */
  readonly leases: string;
  /** Sorted set: id of a reserved lease → its deadline, ms. TTL that of info + 10 s. Writers: the ledger's scripts. */
  readonly deadlines: string;
  /** Sorted set: id of a lease that was given back → when that is forgotten, ms. TTL that of info + 10 s. Writers: release, register, deregister. */
  readonly released: string;
}

/** `workerId` is part of the hash tag; callers check it with `checkWorkerId` first. */
export function workerKeys(workerId: string): WorkerKeys {
  const key = (entity: string): string => `${PREFIX}:{${workerId}}:${entity}:${workerId}`;
  return {
    epoch: key('epoch'),
    info: key('info'),
    leases: key('leases'),
    deadlines: key('deadlines'),
    released: key('released'),
  };
}

/** Types of keys as Redis names them: what a key of another type is told by. Made when one is, not for every verb. */
export type KeyTypes = () => Readonly<Record<string, string>>;

export function typesOf(keys: WorkerKeys): KeyTypes {
  return () => ({
    ...{ [keys.epoch]: 'string', [keys.info]: 'hash', [keys.leases]: 'hash' },
    ...{ [keys.deadlines]: 'zset', [keys.released]: 'zset' },
  });
}

/** Set: ids of workers that may be alive. No TTL; readers remove ids whose info is gone. Writers: register, heartbeat, deregister, list. */
export const REGISTRY_KEY = `${PREFIX}:{registry}:workers:all`;

export const REGISTRY_TYPES: KeyTypes = () => ({ [REGISTRY_KEY]: 'set' });
