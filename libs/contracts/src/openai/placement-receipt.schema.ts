import { z } from 'zod';

/** A worker that a request was given to. */
export const Placed = z.strictObject({
  /** Seconds since 1970, with fractions. */
  at: z.number(),
  worker: z.string(),
  epoch: z.int(),
  reason: z.string(),
  prompt_tokens: z.int(),
  /** Of the prompt that the worker was known to hold. */
  held_tokens: z.int(),
  pages: z.int(),
  codec: z.string(),
  breaker: z.string(),
  /** In tokens of prefill. */
  cost: z.number(),
  /** By scorer, weights included. */
  costs: z.record(z.string(), z.number()),
});

/** Body of the answer of `GET /v1/placement/receipts/{id}`. */
export const PlacementReceipt = z
  .strictObject({
    object: z.literal('placement.receipt'),
    /** The request's `x-request-id`. */
    id: z.string(),
    /** In their order; a request that met faults has several. */
    placements: z.array(Placed),
  })
  .meta({ id: 'PlacementReceipt' });
export type PlacementReceipt = z.infer<typeof PlacementReceipt>;
