import { z } from 'zod';

/** Body of the answers of `POST /v1/cluster/workers/{id}/drain` and `/resume`. */
export const ClusterAdmission = z
  .strictObject({
    object: z.literal('cluster.admission'),
    worker: z.string(),
    /** Whether it takes requests. */
    open: z.boolean(),
    /** Requests that it computes, and that wait to be computed, of all routers. */
    running: z.int(),
    waiting: z.int(),
  })
  .meta({ id: 'ClusterAdmission' });
export type ClusterAdmission = z.infer<typeof ClusterAdmission>;
