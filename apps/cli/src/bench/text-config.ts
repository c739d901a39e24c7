import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import type { DecoderGeometry } from './ceilings.js';

const count = z.int().positive();
/** The Llama decoder inside an Idefics3 or SmolVLM folder. */
const configSchema = z.object({
  tie_word_embeddings: z.boolean().optional(),
  text_config: z.object({
    vocab_size: count,
    hidden_size: count,
    intermediate_size: count,
    num_hidden_layers: count,
    num_attention_heads: count,
    num_key_value_heads: count,
    head_dim: count.optional(),
    max_position_embeddings: count,
    rms_norm_eps: z.number(),
    rope_theta: z.number().optional(),
    rope_parameters: z.object({ rope_theta: z.number() }).optional(),
  }),
});

export type TextConfig = z.output<typeof configSchema>['text_config'];

export const headDim = (text: TextConfig) => text.head_dim ?? text.hidden_size / text.num_attention_heads;

/** @throws KvcError MODEL_INVALID naming the fields of `config.json` that are missing */
export async function readTextConfig(modelDir: string): Promise<{ text: TextConfig; tied: boolean }> {
  const path = join(modelDir, 'config.json');
  try {
    const config = configSchema.parse(JSON.parse(await readFile(path, 'utf8')));
    return { text: config.text_config, tied: config.tie_word_embeddings ?? false };
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new KvcError('MODEL_INVALID', `${path}: ${reason}`, { cause });
  }
}

export function geometryOf(name: string, text: TextConfig): DecoderGeometry {
  return {
    name,
    layers: text.num_hidden_layers,
    hidden: text.hidden_size,
    intermediate: text.intermediate_size,
    heads: text.num_attention_heads,
    kvHeads: text.num_key_value_heads,
    headDim: headDim(text),
    vocab: text.vocab_size,
  };
}
