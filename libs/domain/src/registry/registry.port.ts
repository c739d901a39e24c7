/**
 * Who is alive. Each worker registers and announces its load, routers follow the announcements. Time comes from the
 * store.
 */

import type { StorageFormat } from '../storage/index.js';

/** Constant for one epoch. */
export interface WorkerDescriptor {
  readonly workerId: string;
  /** host:port of its gRPC service. */
  readonly address: string;
  /** host:port of its `/metrics`; absent where it serves none. */
  readonly metricsAddress?: string | undefined;
  readonly modelId: string;
  /** SHA-256 over configuration and weights, hex. */
  readonly modelRevision: string;
  /** SHA-256 over tokenizer, template and picture settings, hex: a router uses workers with its own alone. */
  readonly processorRevision: string;
  /** With block size, formats and the request's cache domain, what names of content are made of. */
  readonly arithmetic: string;
  readonly precision: string;
  readonly imageProcessor: string;
  readonly contextTokens: number;
  readonly blockTokens: number;
  readonly pagesPerBlock: number;
  readonly pageBytes: number;
  readonly capacityPages: number;
  /** Requests that it computes at one time; more of them wait there. */
  readonly maxRunning: number;
  /** The codec of requests that name none. */
  readonly codec: string;
  /** Every codec that a request may name. */
  readonly codecs: readonly string[];
  readonly profileId: string;
  /** How rows are stored: a router decides by them as the worker does. */
  readonly formats: readonly StorageFormat[];
}

/** What a worker's pool holds, for people who look: nothing is decided by it. */
export interface PoolFigures {
  /** Pages of running requests whose rows are as the model computed them. */
  readonly rawPages: number;
  /** Pages of running requests that a codec has stored. */
  readonly capsulePages: number;
  /** Pages of content that no request uses. */
  readonly cachedPages: number;
  /** Outside the pool, of requests that wait. */
  readonly swappedPages: number;
  /** What all of these, the swapped ones excepted, would take as raw 16-bit rows, each request's own. */
  readonly rawBytes: number;
  /** Tokens of answers since the process began. */
  readonly drawnTokens: number;
}

export interface WorkerLoad {
  readonly state: 'ready' | 'draining' | 'failed';
  readonly running: number;
  readonly waiting: number;
  /** As a worker says it: those of its pool. As routers hear it: those of them that the ledger has promised to nobody. */
  readonly freePages: number;
  /** Absent where it does not tell. */
  readonly pool?: PoolFigures | undefined;
}

export interface WorkerRecord extends WorkerDescriptor {
  readonly epoch: number;
  readonly load: WorkerLoad;
}

export const HEARTBEAT_INTERVAL_MS = 2_000;
/** A worker whose last heartbeat is older has gone. */
export const HEARTBEAT_TTL_MS = 6_000;

/** Which process registers. */
export interface Registrant {
  /** The same for the whole life of a process, and of no other. */
  readonly instanceId: string;
  /** The epoch that it holds, or held until the store forgot it; 0 for none. */
  readonly heldEpoch: number;
}

export const ROUTER_RENEWAL_MS = 2_000;
/** A router whose last renewal is older has gone. */
export const ROUTER_TTL_MS = 6_000;
/** How long its epoch is remembered then. */
export const ROUTER_REMEMBERED_MS = 5 * 60_000;

/** Which router process registers. */
export interface RouterRegistrant extends Registrant {
  /** The latest of its own epochs that a worker's ledger has refused, 0 for none. */
  readonly refusedEpoch: number;
  /** host:port at which others reach it; absent while it does not listen. */
  readonly address?: string | undefined;
}

/** What a router hears of the workers: all that are there in its first news, then what has changed since. */
export interface RegistryNews {
  /** New ones, and those that say something else than before. */
  readonly told: readonly WorkerRecord[];
  /** Ids of those that have left or said nothing for `HEARTBEAT_TTL_MS`. */
  readonly gone: readonly string[];
  /** A worker has said that pages were given back. */
  readonly freed: boolean;
}

/** Neither may throw. */
export interface RegistryListener {
  /** After each read that succeeded, also without news: the store answers. */
  heard(news: RegistryNews): void;
  /** After each read that failed: what was heard so far stands. */
  missed(error: unknown): void;
}

/** What a router has read of the stream, since it began. */
export interface FollowingFigures {
  /** Announcements read. */
  readonly entries: number;
  /** Of them those that could not be understood, or were of workers that are not there. */
  readonly skipped: number;
  /** How often all workers were read anew because announcements had been missed. */
  readonly gaps: number;
  /** Since the last read that succeeded. */
  readonly ageMs: number;
}

export interface Following {
  readonly figures: FollowingFigures;
  /** How long ago a worker's last word was written; undefined for one that is not there. */
  silentMs(workerId: string): number | undefined;
  /** Resolves when a read that has begun after the call has been told of. Never rejects. */
  look(): Promise<void>;
  /** Somebody waits for pages: for some seconds from here on, those given back are heard of within milliseconds. */
  want(): void;
  stop(): Promise<void>;
}

/** All methods reject with `LEDGER_UNAVAILABLE` when the store does not answer in time. */
export interface RegistryPort {
  /**
   * Increments the worker's epoch, which fences everything older, and empties its ledger. Asked again by the same
   * process while its record lives it gives the same epoch. Rejects with `STALE_EPOCH` when another process has
   * registered since the epoch that this one holds.
   */
  register(worker: WorkerDescriptor, load: WorkerLoad, by: Registrant): Promise<{ epoch: number }>;
  /**
   * Rejects with `STALE_EPOCH` when the id has a newer epoch: another process's, or the caller's own whose answer
   * was lost (registering tells which); with `NO_WORKER` when the store has no record, or another descriptor in it.
   */
  heartbeat(worker: WorkerDescriptor, epoch: number, load: WorkerLoad): Promise<void>;
  /** Announces a load at once, to routers where requests wait: pages of a lease have been given back. */
  freed(workerId: string, epoch: number, load: WorkerLoad): Promise<void>;
  /** Leaves at once; a stale epoch is ignored. */
  deregister(workerId: string, epoch: number): Promise<void>;
  /** Resolves when the listener has heard of all workers, or that the store does not answer; goes on until stopped. */
  follow(listener: RegistryListener): Promise<Following>;
}

/** A router that is registered. */
export interface Enlisted {
  readonly epoch: number;
  /** How many routers there are whose records live, this one included. */
  readonly routers: number;
  /** Of those that have told theirs; the processes of one router have one. */
  readonly addresses: readonly string[];
}

/** Which routers there are. Both methods reject with `LEDGER_UNAVAILABLE` when the store does not answer in time. */
export interface RouterRegistryPort {
  /**
   * Registers a router, or renews its record, which lives for `ROUTER_TTL_MS`; with it end the reservations that no
   * worker has committed. The process whose record lives keeps its epoch, unless a ledger has refused that. Rejects
   * with `STALE_ROUTER` when another process has registered under the id since the epoch that this one holds.
   */
  registerRouter(routerId: string, by: RouterRegistrant): Promise<Enlisted>;
  /** Leaves at once; a stale epoch is ignored. */
  deregisterRouter(routerId: string, epoch: number): Promise<void>;
}
