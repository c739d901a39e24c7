import { z } from 'zod';

/** What a page of a worker's pool holds; `cached` is content that no request uses, in whichever form. */
export const PAGE_KINDS = ['free', 'raw', 'capsule', 'cached'] as const;
export type PageKind = (typeof PAGE_KINDS)[number];

/** Body of the answer of `GET /v1/cluster/workers/{id}/pages`. */
export const ClusterPages = z
  .strictObject({
    object: z.literal('cluster.pages'),
    worker: z.string(),
    page_bytes: z.int(),
    /** Pages that lie in one block of the pool, one behind the other. */
    pages_per_block: z.int(),
    pages: z.int(),
    /** Pages in their order as runs of one kind, 65,536 at most: what lies behind is left out. */
    runs: z.array(z.tuple([z.enum(PAGE_KINDS), z.int()])),
  })
  .meta({ id: 'ClusterPages' });
export type ClusterPages = z.infer<typeof ClusterPages>;
