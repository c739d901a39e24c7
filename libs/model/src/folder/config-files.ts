import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';

const count = z.int().positive();
const tokenId = z.int().nonnegative();
const eosTokenId = z.union([tokenId, z.array(tokenId)]).nullish();

export const ConfigFile = z.object({
  model_type: z.literal('idefics3', 'only the family idefics3 is served'),
  image_token_id: tokenId,
  eos_token_id: eosTokenId,
  scale_factor: count,
  text_config: z.object({
    max_position_embeddings: count,
    vocab_size: count,
    eos_token_id: eosTokenId,
  }),
  vision_config: z.object({ image_size: count, patch_size: count }),
});
export type ConfigFile = z.infer<typeof ConfigFile>;

export const GenerationConfigFile = z.object({ eos_token_id: eosTokenId });

const Edge = z.object({ longest_edge: count });

export const PictureSettings = z.object({
  do_resize: z.literal(true).default(true),
  do_image_splitting: z.boolean().default(true),
  max_image_size: Edge,
  size: Edge,
});
export type PictureSettings = z.infer<typeof PictureSettings>;

export const ProcessorConfigFile = z.object({
  image_seq_len: count.optional(),
  image_processor: PictureSettings.optional(),
});

const AddedToken = z.object({
  id: tokenId,
  content: z.string().min(1),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  special: z.boolean().default(false),
});
export type AddedToken = z.infer<typeof AddedToken>;

const steps = z.looseObject({ type: z.string() });

export const TokenizerFile = z.looseObject({
  added_tokens: z.array(AddedToken),
  normalizer: steps.nullish(),
  decoder: z.looseObject({
    type: z.literal('ByteLevel', 'only byte-level tokenizers (decoder of type ByteLevel) are served'),
  }),
  model: z.looseObject({
    type: z.literal('BPE', 'only BPE tokenizers are served'),
    vocab: z.record(z.string(), tokenId),
  }),
});
export type TokenizerFile = z.infer<typeof TokenizerFile>;

const NamedToken = z.union([
  z.string(),
  z.object({ content: z.string() }).transform((token) => token.content),
]);

export const TokenizerConfigFile = z.object({
  bos_token: NamedToken.nullish(),
  eos_token: NamedToken.nullish(),
  pad_token: NamedToken.nullish(),
  unk_token: NamedToken.nullish(),
  chat_template: z
    .union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))])
    .nullish(),
});
export type TokenizerConfigFile = z.infer<typeof TokenizerConfigFile>;

/** Reads a text file of the folder; `undefined` when the folder has none of that name. */
export async function readOptional(dir: string, file: string): Promise<string | undefined> {
  try {
    return await readFile(join(dir, file), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new KvcError('MODEL_INVALID', `${file}: cannot be read`, { cause });
  }
}

function fieldOf(issue: z.core.$ZodIssue): string {
  return issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
}

/** Checks the text of a JSON file against a schema; an error names the file and the first field at fault. */
export function parseFile<S extends z.ZodType>(schema: S, file: string, text: string): z.output<S> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new KvcError('MODEL_INVALID', `${file}: not JSON`, { cause });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new KvcError(
    'MODEL_INVALID',
    `${file}: ${issue ? fieldOf(issue) + issue.message : 'not as expected'}`,
    {
      cause: result.error,
    },
  );
}

export async function readRequired<S extends z.ZodType>(
  schema: S,
  dir: string,
  file: string,
): Promise<z.output<S>> {
  const text = await readOptional(dir, file);
  if (text === undefined) throw new KvcError('MODEL_INVALID', `${file}: missing from the model folder`);
  return parseFile(schema, file, text);
}

export async function readIfThere<S extends z.ZodType>(
  schema: S,
  dir: string,
  file: string,
): Promise<z.output<S> | undefined> {
  const text = await readOptional(dir, file);
  return text === undefined ? undefined : parseFile(schema, file, text);
}
