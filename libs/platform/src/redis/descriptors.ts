import { createHash } from 'node:crypto';

import type { WorkerDescriptor } from '@kvcapsule/domain/registry';
import { decodeRows, encodeRows } from '@kvcapsule/domain/storage';
import { z } from 'zod';

const count = z.number().int().nonnegative();

/** Rows of a span at most, whatever a record says. */
const MOST_ROWS = 2 ** 16;

/** Marker rows stand in a record as `encodeRows` writes them. */
const markerRows = z
  .array(count)
  .max(MOST_ROWS)
  .transform((lengths, context) => {
    const rows = decodeRows(lengths, MOST_ROWS);
    if (!rows) context.addIssue(`more than ${MOST_ROWS} rows`);
    return rows ?? z.NEVER;
  });

export const descriptorSchema = z.object({
  workerId: z.string(),
  address: z.string(),
  metricsAddress: z.string().optional(),
  modelId: z.string(),
  modelRevision: z.string(),
  processorRevision: z.string(),
  arithmetic: z.string(),
  precision: z.string(),
  imageProcessor: z.string(),
  contextTokens: count,
  blockTokens: count,
  pagesPerBlock: count,
  pageBytes: count,
  capacityPages: count,
  maxRunning: count,
  codec: z.string(),
  profileId: z.string(),
  codecs: z.array(z.string()),
  formats: z.array(
    z.object({
      codec: z.string(),
      profileId: z.string(),
      tokens: count,
      markerRows,
      pages: count,
      headerBytes: z.number().nonnegative(),
      bytesPerToken: z.number().nonnegative(),
    }),
  ),
});

/** What a worker writes. Throws where nobody could read it. */
export function descriptorJson(worker: WorkerDescriptor): string {
  const formats = worker.formats.map((format) => ({ ...format, markerRows: encodeRows(format.markerRows) }));
  const written = { ...worker, formats };
  descriptorSchema.parse(written);
  return JSON.stringify(written);
}

/** Each is constant, and asked for with every heartbeat. */
const digests = new WeakMap<WorkerDescriptor, string>();

/** SHA-1 of what a worker writes, hex, as scripts can make it too. */
export function descriptorDigest(worker: WorkerDescriptor): string {
  const known = digests.get(worker);
  if (known !== undefined) return known;
  const digest = createHash('sha1').update(descriptorJson(worker)).digest('hex');
  digests.set(worker, digest);
  return digest;
}

/** Undefined where it cannot be understood: a worker of another version is as good as none, and keeps nobody else out. */
export function readDescriptor(json: string): WorkerDescriptor | undefined {
  try {
    return descriptorSchema.parse(JSON.parse(json));
  } catch {
    return undefined;
  }
}
