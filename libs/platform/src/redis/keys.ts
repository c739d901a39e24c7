/**
 * Every Redis key of the project. Form: `kvc:v1:{slot}:entity:id`; the slot is the worker's id, so that all
 * that one script changes sits in one hash slot of a Redis Cluster. `docs/reference/redis-keys.md` explains
 * the fields.
 */

const PREFIX = 'kvc:v1';

export interface WorkerKeys {
  /**
   * String: the current epoch and the id of the process that holds it. TTL 24 h, renewed by heartbeats. Writers:
   * register, heartbeat.
   */
  readonly epoch: string;
  /** Hash: record and account. TTL 6 s, renewed by heartbeats. Writers: every script but account. */
  readonly info: string;
  /**
   * Hash: lease id → `r:PAGES` (reserved) or `c:PAGES` (committed), then `:ROUTER:EPOCH` where a router reserved it.
   * TTL that of info + 10 s. Writers: the ledger's scripts.
   */
  readonly leases: string;
  /** Sorted set: id of a reserved lease → its deadline, ms. TTL that of info + 10 s. Writers: the ledger's scripts. */
  readonly deadlines: string;
  /**
   * Sorted set: id of a lease that was given back → when that is forgotten, ms. TTL that of info + 10 s. Writers:
   * release, register, deregister.
   */
  readonly released: string;
  /**
   * Hash: id of a router → `EPOCH UNTIL`: what an earlier epoch of it reserves is refused until then, ms. TTL that of
   * info + 10 s. Writers: reserve, fence, heartbeat, register, deregister.
   */
  readonly routers: string;
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
    routers: key('routers'),
  };
}

/** Types of keys as Redis names them: what a key of another type is told by. Made when one is, not for every verb. */
export type KeyTypes = () => Readonly<Record<string, string>>;

export function typesOf(keys: WorkerKeys): KeyTypes {
  return () => ({
    ...{ [keys.epoch]: 'string', [keys.info]: 'hash', [keys.leases]: 'hash' },
    ...{ [keys.deadlines]: 'zset', [keys.released]: 'zset', [keys.routers]: 'hash' },
  });
}

/**
 * What the stream of announcements keeps, about: the heartbeats of a thousand workers over twenty seconds, for routers
 * that are away for a moment.
 */
export const MOST_ANNOUNCEMENTS = 10_000;
/** Members and stream vanish when nobody has announced anything for so long. */
export const ANNOUNCED_TTL_MS = 60_000;

/**
 * The registry's, in a hash slot of their own. Workers write and renew theirs with announce, routers theirs with
 * enlist.
 */
export const REGISTRY_KEYS = {
  /**
   * Hash: worker id → when it announced something last, its epoch and its load. TTL 1 min; readers remove who is
   * silent.
   */
  members: `${PREFIX}:{registry}:members:all`,
  /** Stream: announcements, about the latest `MOST_ANNOUNCEMENTS`. TTL 1 min. */
  loads: `${PREFIX}:{registry}:loads:all`,
  /** String: there while requests wait for pages somewhere. TTL 5 s, renewed by routers. */
  wanted: `${PREFIX}:{registry}:wanted:all`,
  /** Hash: router id → its epoch, when it last said so, ms, its process and its address. TTL 5 min, renewed by routers. */
  routers: `${PREFIX}:{registry}:routers:all`,
} as const;

export const REGISTRY_TYPES: KeyTypes = () => ({
  ...{ [REGISTRY_KEYS.members]: 'hash', [REGISTRY_KEYS.loads]: 'stream', [REGISTRY_KEYS.wanted]: 'string' },
  ...{ [REGISTRY_KEYS.routers]: 'hash' },
});
