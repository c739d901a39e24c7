/**
 * Who is alive. The worker writes its own record, routers read all of them. Time comes from the store.
 */

import type { StorageFormat } from '../storage/index.js';

/** Constant for one epoch. */
export interface WorkerDescriptor {
  readonly workerId: string;
  /** host:port of its gRPC service. */
  readonly address: string;
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
  /** The codec of requests that name none. */
  readonly codec: string;
  /** Every codec that a request may name. */
  readonly codecs: readonly string[];
  readonly profileId: string;
  /** How rows are stored: a router decides by them as the worker does. */
  readonly formats: readonly StorageFormat[];
}

export interface WorkerLoad {
  readonly state: 'ready' | 'draining' | 'failed';
  readonly running: number;
  readonly waiting: number;
  readonly freePages: number;
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
   * was lost (registering tells which); with `NO_WORKER` when the store has no record.
   */
  heartbeat(workerId: string, epoch: number, load: WorkerLoad): Promise<void>;
  /** Leaves at once; a stale epoch is ignored. */
  deregister(workerId: string, epoch: number): Promise<void>;
  /** Workers whose heartbeat is fresh. */
  list(): Promise<readonly WorkerRecord[]>;
}
