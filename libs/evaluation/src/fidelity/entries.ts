import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, parse, resolve } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { CODECS, WEIGHT_TYPES } from '@kvcapsule/engine';
import { z } from 'zod';
import { serverRoot } from '@kvcapsule/platform/http';

const entrySchema = z
  .strictObject({
    name: z.string().regex(/^[\w.+ -]{1,60}$/, 'letters, digits, spaces and ._+- only, at most 60'),
    /** With a profile it may be left out: the profile says. */
    codec: z.enum(CODECS).optional(),
    /** Profile file, from the entries file's folder; for the capsule codecs. */
    profile: z.string().min(1).optional(),
    /** Raw rows of a picture whose longest edge is scaled to so many pixels first: fewer tiles, fewer tokens. */
    longestEdge: z.int().positive().optional(),
    /** Raw rows of as many tokens as ever, of a picture from which detail finer than so many pixels is gone. */
    detail: z.int().positive().optional(),
    /** Raw rows of the same pictures in an engine whose weights are of this type. */
    weights: z.enum(WEIGHT_TYPES).optional(),
    /** Another engine: address of an OpenAI server with log-probabilities, without `/v1`. */
    url: z.url({ protocol: /^https?$/ }).optional(),
    /** Of that server; its first when left out. */
    model: z.string().min(1).optional(),
    /** Of that server, when it is one of ours. */
    kvCodec: z.enum(CODECS).optional(),
    /** What it gets wrong are the hard questions. */
    hard: z.literal(true).optional(),
    /** What is said of it, for the report to check: so many times smaller, at most so much worse than raw. */
    claim: z
      .strictObject({
        ratio: z.number().positive(),
        /** Mean divergence, nats per answer token. */
        klNats: z.number().positive().optional(),
        /** Accuracy lost, in points. */
        points: z.number().positive().optional(),
      })
      .optional(),
    /** Pictures asked about alone, where narrow intervals need more than the run's number. */
    scenes: z.int().positive().max(100_000).optional(),
    /** What it stands for in the report. */
    group: z.enum(['ours', 'rival', 'paper', 'ablation']).default('ours'),
  })
  .refine(
    ({ codec, profile, url }) =>
      url === undefined
        ? (codec ?? 'capsule').startsWith('capsule') === (profile !== undefined)
        : (codec ?? profile) === undefined,
    { message: 'a codec without a profile, a profile (of a capsule codec), or a url', path: ['codec'] },
  )
  .refine(({ url, model, kvCodec }) => url !== undefined || (model ?? kvCodec) === undefined, {
    message: 'model and kvCodec belong to a url',
    path: ['url'],
  })
  .refine(
    ({ codec, longestEdge, detail, weights }) => {
      const others = [longestEdge, detail, weights].filter((one) => one !== undefined);
      return others.length <= (codec === 'raw' ? 1 : 0);
    },
    { message: 'longestEdge, detail or weights, and each with raw rows only', path: ['codec'] },
  );

export type Entry = z.infer<typeof entrySchema>;

const entriesSchema = z
  .strictObject({ entries: z.array(entrySchema).min(1).max(100) })
  .refine(({ entries }) => new Set(entries.map(({ name }) => name)).size === entries.length, {
    message: 'two entries have one name',
    path: ['entries'],
  })
  .refine(({ entries }) => entries.filter(({ hard }) => hard).length <= 1, {
    message: 'more than one entry names the hard questions',
    path: ['entries'],
  });

/** What everything is compared with; always measured. */
export const RAW_ENTRY: Entry = { name: 'raw', codec: 'raw', group: 'rival' };

export const isBaseline = (entry: Entry) =>
  (entry.longestEdge ?? entry.detail ?? entry.weights) === undefined && entry.codec === 'raw';

/**
 * Entries to measure, from a JSON file `{"entries": [...]}`, without raw itself.
 *
 * @throws KvcError CONFIG_INVALID naming the field at fault
 */
export async function readEntries(path: string): Promise<Entry[]> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new KvcError('CONFIG_INVALID', `--entries: ${path} cannot be read as JSON`, { cause });
  }
  const parsed = entriesSchema.safeParse(json);
  if (!parsed.success) {
    throw new KvcError('CONFIG_INVALID', `--entries: ${path}: ${z.prettifyError(parsed.error)}`);
  }
  return parsed.data.entries
    .filter((entry) => !isBaseline(entry))
    .map((entry) =>
      entry.profile === undefined ? entry : { ...entry, profile: resolve(dirname(path), entry.profile) },
    );
}

/** An entry for each of some codec names, profile files and servers, as `--against` takes them. */
export function entriesAgainst(others: readonly string[]): Entry[] {
  return others.map((other) => {
    if (other === 'q8' || other === 'q4') return { name: other, codec: other, group: 'rival' };
    if (/^https?:/.test(other)) {
      const url = serverRoot(other);
      return { name: new URL(url).host.replace(/[^\w.-]/g, ' '), url, group: 'rival' };
    }
    return { name: parse(other).name, profile: resolve(other), group: 'ours' };
  });
}

/** The same for everything that gives the same numbers, whatever the entry is called. */
export function entryKey(entry: Entry, profileSha256: string | undefined): string {
  const { codec, longestEdge, detail, weights, url, model, kvCodec } = entry;
  const identity = JSON.stringify({
    codec,
    longestEdge,
    detail,
    weights,
    profileSha256,
    url,
    model,
    kvCodec,
  });
  return createHash('sha256').update(identity).digest('hex').slice(0, 16);
}
