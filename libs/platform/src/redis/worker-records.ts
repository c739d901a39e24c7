import type { WorkerDescriptor, WorkerLoad, WorkerRecord } from '@kvcapsule/domain/registry';
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

export const loadSchema = z.object({
  state: z.enum(['ready', 'draining', 'failed']),
  running: count,
  waiting: count,
  freePages: count,
});

/** What a worker writes. Throws where nobody could read it. */
export function descriptorJson(worker: WorkerDescriptor): string {
  const formats = worker.formats.map((format) => ({ ...format, markerRows: encodeRows(format.markerRows) }));
  const written = { ...worker, formats };
  descriptorSchema.parse(written);
  return JSON.stringify(written);
}

/** What one worker's hash held when it was last read; undefined where it could not be understood. */
interface Seen {
  readonly epoch: string;
  readonly descriptor: WorkerDescriptor | undefined;
  loadJson: string;
  record: WorkerRecord | undefined;
}

/**
 * Records as they were last read. A descriptor is constant for one epoch, so it is parsed and checked once an
 * epoch: that is most of what reading a record costs. A record that cannot be understood (a worker of
 * another version) is as good as none, and takes nobody else out of the list.
 */
export class WorkerRecords {
  readonly #seen = new Map<string, Seen>();

  /** Whether this epoch's descriptor has been read. */
  knows(workerId: string, epoch: string): boolean {
    return this.#seen.get(workerId)?.epoch === epoch;
  }

  learn(workerId: string, epoch: string, descriptorJson: string): void {
    const descriptor = parsed(descriptorSchema, descriptorJson);
    this.#seen.set(workerId, { epoch, descriptor, loadJson: '', record: undefined });
  }

  /** The record with this load; the same object again while the load stays the same. */
  record(workerId: string, loadJson: string): WorkerRecord | undefined {
    const seen = this.#seen.get(workerId);
    if (seen?.descriptor === undefined) return undefined;
    if (seen.loadJson !== loadJson) {
      const load: WorkerLoad | undefined = parsed(loadSchema, loadJson);
      seen.loadJson = loadJson;
      seen.record = load && { ...seen.descriptor, epoch: Number(seen.epoch), load };
    }
    return seen.record;
  }

  /** Forgets everybody else. */
  keep(workerIds: readonly string[]): void {
    const kept = new Set(workerIds);
    for (const workerId of this.#seen.keys()) if (!kept.has(workerId)) this.#seen.delete(workerId);
  }
}

function parsed<T>(schema: z.ZodType<T>, json: string): T | undefined {
  try {
    return schema.parse(JSON.parse(json));
  } catch {
    return undefined;
  }
}
