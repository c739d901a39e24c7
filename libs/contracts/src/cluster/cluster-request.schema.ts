import { z } from 'zod';
import { Placed } from '../openai/placement-receipt.schema.js';

export const REQUEST_STATES = [
  'preparing',
  'queued',
  'prefill',
  'decoding',
  'finished',
  'failed',
  'aborted',
] as const;

const KvBytes = { bytes: z.int(), raw_bytes: z.int() } as const;

/** A request of this router, in flight or ended lately. Nothing of what was asked or answered is in it. */
export const ClusterRequest = z
  .strictObject({
    /** Unique for as long as the router's process lives, as `id` need not be. */
    serial: z.int(),
    /** Its `x-request-id`. */
    id: z.string(),
    tenant: z.string(),
    model: z.string(),
    /** `queued`: sound, and no worker has been found yet; `prefill`: a worker has it, and no token has come. */
    state: z.enum(REQUEST_STATES),
    /** The worker that has it, or had it last. */
    worker: z.string().nullable(),
    pictures: z.int(),
    prompt_tokens: z.int().nullable(),
    cached_tokens: z.int().nullable(),
    completion_tokens: z.int(),
    /** The codec that was asked for or that its worker chose; null before it has one. */
    codec: z.string().nullable(),
    /** Seconds since 1970, with fractions. */
    started_at: z.number(),
    first_token_at: z.number().nullable(),
    ended_at: z.number().nullable(),
    /** The code of what it failed with, as errors have it. */
    error: z.string().nullable(),
    /** What its prompt held when it ended, and what the same tokens would hold as raw 16-bit rows. */
    kv: z.strictObject({ codec: z.string(), ...KvBytes, pictures: z.strictObject(KvBytes) }).nullable(),
  })
  .meta({ id: 'ClusterRequest' });
export type ClusterRequest = z.infer<typeof ClusterRequest>;

/** Body of the answer of `GET /v1/cluster/requests/{id}`. */
export const ClusterRequestDetail = z
  .strictObject({
    object: z.literal('cluster.request'),
    request: ClusterRequest,
    /** The workers it was given to and why, in their order; the last eight. */
    placements: z.array(Placed),
    /** Others of that id that are remembered, newest first, 32 at most; each is had by its serial. */
    others: z.array(
      z.strictObject({
        serial: z.int(),
        tenant: z.string(),
        state: z.enum(REQUEST_STATES),
        started_at: z.number(),
      }),
    ),
  })
  .meta({ id: 'ClusterRequestDetail' });
export type ClusterRequestDetail = z.infer<typeof ClusterRequestDetail>;
