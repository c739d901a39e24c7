import { KvcError } from '@kvcapsule/contracts/errors';
import { CODECS, type NativeEngineInfo, type NativeFormatInfo, WEIGHT_TYPES } from '@kvcapsule/engine';
import { readSmallFile } from '@kvcapsule/platform/config';
import { z } from 'zod';

const count = z.number().int().nonnegative();
const milliseconds = z.number().finite().nonnegative();
const share = z.number().finite().nonnegative();

const formatSchema = z.strictObject({
  codec: z.enum(CODECS).exclude(['raw']),
  profileId: z.string(),
  profileFile: z.number().int(),
  tokens: count,
  markerRows: z.array(count).transform((rows) => Int32Array.from(rows)),
  pages: count,
  bytes: count,
  bytesPerToken: share,
  headerBytes: count,
  macsShare: share,
}) satisfies z.ZodType<NativeFormatInfo>;

const infoSchema = z.strictObject({
  ...{ vocab: count, contextTokens: count, imageTokenId: count, tokensPerTile: count.min(1) },
  ...{ featureBytes: count, layers: count, heads: count, kvHeads: count, headDim: count },
  ...{ blockTokens: count.min(1), pagesPerBlock: count.min(1), blockBytes: count.min(1) },
  ...{ pageBytes: count.min(1), weightBytes: count },
  formats: z.array(formatSchema),
}) satisfies z.ZodType<NativeEngineInfo>;

const engineModelSchema = z.strictObject({
  measured: z.strictObject({
    command: z.string(),
    commit: z.string(),
    machine: z.string(),
    threads: count,
    /** Of the machine at the end. */
    load: z.number(),
    /** Of the fit over what was measured: the median relative error, and that which nine of ten keep. */
    error: z.strictObject({ median: share, p90: share }),
  }),
  weights: z.enum(WEIGHT_TYPES),
  kvDtype: z.enum(['f32', 'f16', 'bf16']),
  /** Of requests that name none. */
  codec: z.enum(CODECS),
  profileId: z.string(),
  info: infoSchema,
  costs: z.strictObject({
    ...{ stepMs: milliseconds, prefillRowMs: milliseconds, decodeRowMs: milliseconds },
    ...{ prefillAttendedMs: milliseconds, decodeAttendedMs: milliseconds },
    ...{ pictureMs: milliseconds, tileMs: milliseconds },
  }),
});

const MOST_BYTES = 4 * 2 ** 20;

/** A real engine as a simulated one needs it: what it says of itself, and how long its steps took. */
export type EngineModel = z.output<typeof engineModelSchema>;

/**
 * @param path a file that `bench/simulation-costs.mjs` wrote
 * @throws KvcError CONFIG_INVALID naming the file, and the field at fault
 */
export async function readEngineModel(path: string): Promise<EngineModel> {
  const content = await Promise.resolve()
    .then((): unknown => JSON.parse(readSmallFile(path, MOST_BYTES)))
    .catch((cause: unknown) => {
      throw new KvcError('CONFIG_INVALID', `${path} cannot be read as JSON`, { cause });
    });
  const { data, error } = engineModelSchema.safeParse(content);
  if (data) return data;
  const [issue] = error.issues;
  throw new KvcError('CONFIG_INVALID', `${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}
