import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import { addMetadata, contentSha256, readHeader, type SafetensorsHeader } from './safetensors.js';

export const PROFILE_FORMAT = 'kvcapsule-profile';
/** Of profiles of masks and 16-bit rows, of packed rows, and of pieces that several grids are made of. */
const PROFILE_VERSIONS = ['1', '2', '3'] as const;

const count = z.coerce.number().int().positive();
const metadataSchema = z.object({
  format: z.literal(PROFILE_FORMAT),
  version: z.enum(PROFILE_VERSIONS),
  model_revision: z.string().regex(/^[0-9a-f]{64}$/),
  n: count,
  layers: count,
  kv_heads: count,
  head_dim: count,
  /** Version 1 knows one codec only. */
  codec: z.enum(['capsule', 'capsule-q8', 'capsule-q4', 'capsule-mixed']).default('capsule'),
  retention: z.string().min(1).optional(),
  source: z.string().optional(),
  pictures: count.optional(),
  content_sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

/** What a profile has to agree with. */
export interface ProfileExpectation {
  readonly modelRevision: string;
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Covered tokens asked for; any number when absent. */
  readonly tokens?: number;
}

export interface ProfileDescription {
  readonly path: string;
  /** Covered tokens n of the spans it fits; of version 3, where each grid has its own, of one piece of each kind. */
  readonly tokens: number;
  readonly codec: z.infer<typeof metadataSchema>['codec'];
  /** Share of rows kept, one number or one a layer, as it was fitted; version 1 only. */
  readonly retention: string | undefined;
  readonly contentSha256: string;
  /** What it was fitted on: `scenes:SEED` or `folder`; profiles of other hands may not say. */
  readonly source?: string;
  /** How many pictures of the source. */
  readonly pictures?: number;
}

function invalid(path: string, reason: string, cause?: unknown): KvcError {
  return new KvcError('PROFILE_INVALID', `profile ${path}: ${reason}`, { cause });
}

async function headerOf(path: string): Promise<SafetensorsHeader> {
  try {
    return await readHeader(path);
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw invalid(path, `it cannot be read as a profile (${reason})`, cause);
  }
}

function mismatch(
  metadata: z.infer<typeof metadataSchema>,
  expected: ProfileExpectation,
): string | undefined {
  if (metadata.model_revision !== expected.modelRevision) {
    const short = (revision: string) => revision.slice(0, 12);
    return `it was fitted for model revision ${short(metadata.model_revision)}, this model is ${short(expected.modelRevision)}`;
  }
  const geometry = [
    ['layers', metadata.layers, expected.layers],
    ['KV heads', metadata.kv_heads, expected.kvHeads],
    ['channels a head', metadata.head_dim, expected.headDim],
    ['covered tokens', metadata.n, expected.tokens ?? metadata.n],
  ] as const;
  const wrong = geometry.find(([, has, wants]) => has !== wants);
  return wrong && `it has ${wrong[1]} ${wrong[0]}, ${wrong[2]} are asked for`;
}

/**
 * Checks that a profile is whole and belongs to this model, before any of its numbers are used.
 *
 * @throws KvcError PROFILE_INVALID with the reason: other model, geometry or n, other format, damaged bytes
 */
export async function verifyProfile(path: string, expected: ProfileExpectation): Promise<ProfileDescription> {
  const header = await headerOf(path);
  const parsed = metadataSchema.safeParse(header.metadata);
  if (!parsed.success) throw invalid(path, `its metadata is not valid: ${z.prettifyError(parsed.error)}`);
  const reason = mismatch(parsed.data, expected);
  if (reason !== undefined) throw invalid(path, reason);
  const file = await readFile(path);
  if (file.length !== header.dataOffset + header.dataBytes) {
    throw invalid(path, `the file is damaged (${file.length} bytes long)`);
  }
  if (contentSha256(file, header) !== parsed.data.content_sha256) {
    throw invalid(path, 'the file is damaged (its content hash differs)');
  }
  const { n: tokens, codec, retention, content_sha256, source, pictures } = parsed.data;
  return {
    path,
    tokens,
    codec,
    retention,
    contentSha256: content_sha256,
    ...(source !== undefined && { source }),
    ...(pictures !== undefined && { pictures }),
  };
}

/** Profile files beside a model, `<model>/profiles/*.safetensors`, in order of their names. */
export async function discoverProfiles(modelDir: string): Promise<string[]> {
  const folder = join(modelDir, 'profiles');
  const names = await readdir(folder).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw new KvcError('PROFILE_INVALID', `${folder}: cannot be read (${String(code)})`, { cause: error });
  });
  return names
    .filter((name) => name.endsWith('.safetensors'))
    .sort()
    .map((name) => join(folder, name));
}

/** Adds the hash of its contents to a freshly fitted profile; only then it passes {@link verifyProfile}. */
export async function sealProfile(path: string): Promise<void> {
  const header = await readHeader(path);
  const content = contentSha256(await readFile(path), header);
  await addMetadata(path, { content_sha256: content });
}
