import { z } from 'zod';

const worker = {
  worker: z.string(),
  epoch: z.int(),
};

/** What a worker has of the prompt, in tokens and pictures. */
const Held = z.strictObject({
  prefix_tokens: z.int(),
  pictures: z.int(),
  features: z.int(),
  /** Of the others, those that it computes for another request. */
  pictures_coming: z.int(),
});

const Candidate = z.strictObject({
  ...worker,
  /** How the request's KV would be kept there. */
  codec: z.string(),
  /** That would be set aside for it. */
  pages: z.int(),
  page_bytes: z.int(),
  bytes: z.int(),
  free_pages: z.int(),
  capacity_pages: z.int(),
  running: z.int(),
  waiting: z.int(),
  arithmetic: z.string(),
  precision: z.string(),
  /** Null where nothing is known of it. */
  held: Held.nullable(),
  /** By scorer, weights included, in tokens of prefill; scorers that could not tell are left out. */
  costs: z.record(z.string(), z.number()),
  total: z.number(),
});

const Rejected = z.strictObject({
  ...worker,
  filter: z.string(),
  reason: z.string(),
  /** A request waits for such a worker instead of being refused. */
  may_pass: z.boolean(),
});

/** Body of the answer of `POST /v1/placement/explain`. */
export const PlacementExplanation = z
  .strictObject({
    object: z.literal('placement.explanation'),
    model: z.string(),
    policy: z.string(),
    /** Of each scorer of the policy. */
    weights: z.record(z.string(), z.number()),
    request: z.strictObject({
      prompt_tokens: z.int(),
      pictures: z.int(),
      picture_tokens: z.int(),
      max_tokens: z.int(),
      kv_codec: z.string().nullable(),
      /** The same for requests that are likely to begin alike. */
      session: z.string().nullable(),
    }),
    candidates: z.array(Candidate),
    rejected: z.array(Rejected),
    /** Whom the router would try, in this order; drawn anew each time where several are about as good. */
    picks: z.array(z.strictObject({ ...worker, total: z.number(), reason: z.string() })),
    /** What the request would be answered with where it can neither be placed nor wait. */
    refusal: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  })
  .meta({ id: 'PlacementExplanation' });
export type PlacementExplanation = z.infer<typeof PlacementExplanation>;
