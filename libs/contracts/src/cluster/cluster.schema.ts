import { z } from 'zod';
import { ClusterRequest } from './cluster-request.schema.js';

export const WORKER_STATES = ['ready', 'draining', 'failed', 'stalled', 'away'] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

/** Pages of a pool by what they hold, and the bytes of what they hold. */
const Held = z.strictObject({
  raw: z.int(),
  capsule: z.int(),
  cached: z.int(),
  free: z.int(),
  /** Outside the pool: of requests that wait until they are let on. */
  swapped: z.int(),
  /** Of raw, capsule and cached pages. */
  stored_bytes: z.int(),
  /** The same keys and values as raw 16-bit rows, each request's own. */
  raw_bytes: z.int(),
});

/** A worker as this router knows it. */
export const ClusterWorker = z
  .strictObject({
    id: z.string(),
    epoch: z.int(),
    /** The id that it registered with: a folder's name. */
    model: z.string(),
    /** `host:port` of its gRPC service; null without an admin key where keys are set. */
    address: z.string().nullable(),
    /** `stalled`: it has requests and says nothing of them; `away`: it cannot be reached, or its heartbeats are missing. */
    state: z.enum(WORKER_STATES),
    breaker: z.enum(['closed', 'open', 'half-open']),
    /** The codec of requests that name none. */
    codec: z.string(),
    running: z.int(),
    waiting: z.int(),
    max_running: z.int(),
    pages: z.int(),
    page_bytes: z.int(),
    /** Pages that are in use or that the ledger has promised to somebody. */
    leased_pages: z.int(),
    /** Null for a worker that does not tell. */
    held: Held.nullable(),
    /** Of all its answers together. */
    tokens_per_second: z.number(),
    /** Since its last heartbeat that was heard; 0 while they come in time. */
    silent_seconds: z.int(),
  })
  .meta({ id: 'ClusterWorker' });
export type ClusterWorker = z.infer<typeof ClusterWorker>;

/** All workers together, and what waits in this router. */
export const ClusterTotals = z
  .strictObject({
    workers: z.record(z.enum(WORKER_STATES), z.int()),
    /** Requests that workers compute, and that wait on them. */
    running: z.int(),
    waiting: z.int(),
    /** Requests of this router that no worker has yet. */
    queued: z.int(),
    pages: z.int(),
    leased_pages: z.int(),
    held: Held,
    /** What the stored form saves: `raw_bytes` less `stored_bytes`, never below 0. */
    saved_bytes: z.int(),
    tokens_per_second: z.number(),
  })
  .meta({ id: 'ClusterTotals' });
export type ClusterTotals = z.infer<typeof ClusterTotals>;

/** Seconds, of what this router has seen lately; null where it has seen nothing. */
const Quantiles = z.strictObject({ p50: z.number().nullable(), p95: z.number().nullable() });

/** One moment of the last minutes. */
export const ClusterPoint = z
  .strictObject({
    /** Seconds since 1970. */
    at: z.number(),
    tokens_per_second: z.number(),
    running: z.int(),
    waiting: z.int(),
    queued: z.int(),
    stored_bytes: z.int(),
    raw_bytes: z.int(),
    time_to_first_token: Quantiles,
    inter_token_latency: Quantiles,
  })
  .meta({ id: 'ClusterPoint' });
export type ClusterPoint = z.infer<typeof ClusterPoint>;

/** The router that answers: one process of it. */
export const ClusterRouter = z.strictObject({
  started_at: z.number(),
  draining: z.boolean(),
  /** How many routers share the cluster, as far as this one has heard, its own other processes included. */
  routers: z.int(),
  /** The store answers; otherwise what was last heard of workers stands. */
  store_answers: z.boolean(),
});
export type ClusterRouter = z.infer<typeof ClusterRouter>;

/** Body of the answer of `GET /v1/cluster`, and the data of the event `snapshot`. */
export const ClusterSnapshot = z
  .strictObject({
    object: z.literal('cluster'),
    /** Seconds since 1970, with fractions. */
    at: z.number(),
    router: ClusterRouter,
    totals: ClusterTotals,
    workers: z.array(ClusterWorker),
    /** The newest 200 in flight and 100 that have ended, newest first: of the caller's tenant, or of all. */
    requests: z.array(ClusterRequest),
    /** The last five minutes, oldest first. */
    history: z.array(ClusterPoint),
  })
  .meta({ id: 'ClusterSnapshot' });
export type ClusterSnapshot = z.infer<typeof ClusterSnapshot>;

/** Data of the event `delta`: what is not the same as in the last event. */
export const ClusterDelta = z
  .strictObject({
    object: z.literal('cluster.delta'),
    at: z.number(),
    router: ClusterRouter.optional(),
    totals: ClusterTotals.optional(),
    /** New ones and those that have changed, whole. */
    workers: z.array(ClusterWorker).optional(),
    gone_workers: z.array(z.string()).optional(),
    /** New ones and those that have changed, whole. */
    requests: z.array(ClusterRequest).optional(),
    /** Serials of those that are told of no more. */
    gone_requests: z.array(z.int()).optional(),
    /** Points of the history that have come. */
    points: z.array(ClusterPoint).optional(),
  })
  .meta({ id: 'ClusterDelta' });
export type ClusterDelta = z.infer<typeof ClusterDelta>;
