import { z } from 'zod';

/** Keys or values of one layer: of a capsule, or of one row where the format stores any number. */
const StoredPart = z.strictObject({
  bytes: z.int(),
  /** Of the same rows in 16 bits. */
  raw_bytes: z.int(),
  /** Expected share of the rows' variance that is kept, by what the profile measured; null where it has none. */
  kept_energy: z.number().nullable(),
});

export const ClusterFormat = z
  .strictObject({
    codec: z.string(),
    /** Name and hash of the profile; null for a format without one. */
    profile: z.string().nullable(),
    /** Rows of a capsule; 0: any number, and layers tell of one row. */
    tokens: z.int(),
    /** The rows are a picture's whole span; otherwise its visual tokens alone, and its markers are stored raw. */
    covers_markers: z.boolean(),
    /** Of a capsule, beside the layers: header, tables, and what is left unused. */
    header_bytes: z.int(),
    /** Bits move between layers from picture to picture: layers are those of a picture like the mean one of the profile. */
    varies: z.boolean(),
    layers: z.array(z.strictObject({ keys: StoredPart, values: StoredPart })),
  })
  .meta({ id: 'ClusterFormat' });
export type ClusterFormat = z.infer<typeof ClusterFormat>;

/** Body of the answer of `GET /v1/cluster/workers/{id}/formats`. */
export const ClusterFormats = z
  .strictObject({
    object: z.literal('cluster.formats'),
    worker: z.string(),
    /** Of those of one codec that fit a picture, it is stored with the last. */
    formats: z.array(ClusterFormat),
  })
  .meta({ id: 'ClusterFormats' });
export type ClusterFormats = z.infer<typeof ClusterFormats>;
