import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';

const count = z.int().positive();
const configSchema = z.object({
  text_config: z.object({
    num_hidden_layers: count,
    num_attention_heads: count,
    num_key_value_heads: count,
    hidden_size: count,
    head_dim: count.optional(),
  }),
});

export interface ModelGeometry {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/**
 * The sizes a profile has to agree with, from `config.json`.
 *
 * @throws KvcError MODEL_INVALID naming the field
 */
export async function modelGeometry(modelDir: string): Promise<ModelGeometry> {
  const path = join(modelDir, 'config.json');
  try {
    const { text_config: text } = configSchema.parse(JSON.parse(await readFile(path, 'utf8')));
    return {
      layers: text.num_hidden_layers,
      kvHeads: text.num_key_value_heads,
      headDim: text.head_dim ?? text.hidden_size / text.num_attention_heads,
    };
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new KvcError('MODEL_INVALID', `${path}: ${reason}`, { cause });
  }
}
