import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import type { NativeDtype } from './native.js';
import { readHeader } from './profiles/safetensors.js';

const count = z.int().positive();
const configSchema = z.object({
  text_config: z.object({ hidden_size: count, intermediate_size: count, vocab_size: count }),
  vision_config: z.object({
    hidden_size: count,
    intermediate_size: count,
    num_attention_heads: count,
    image_size: count,
    patch_size: count,
  }),
});

/** What a model's weights and activations are made of, in numbers. */
export interface ModelSize {
  /** Of all weights. */
  readonly parameters: number;
  /** Type that most of them are stored in. */
  readonly dtype: NativeDtype;
  readonly hidden: number;
  readonly intermediate: number;
  readonly vocab: number;
  readonly vision: {
    readonly hidden: number;
    readonly intermediate: number;
    readonly heads: number;
    /** Of one tile. */
    readonly patches: number;
  };
}

const STORED_TYPES = new Map<string, NativeDtype>([
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
]);

function mostCommonType(tensors: readonly { dtype: string; elements: number }[]): NativeDtype {
  const elements = new Map<NativeDtype, number>();
  for (const tensor of tensors) {
    const type = STORED_TYPES.get(tensor.dtype) ?? 'f32';
    elements.set(type, (elements.get(type) ?? 0) + tensor.elements);
  }
  return [...elements].reduce((most, each) => (each[1] > most[1] ? each : most), ['f32', 0])[0];
}

/**
 * Reads a model's sizes from `config.json` and the headers of its weights; loads nothing.
 *
 * @throws KvcError MODEL_INVALID naming the file
 */
export async function modelSize(modelDir: string): Promise<ModelSize> {
  const config = join(modelDir, 'config.json');
  try {
    const { text_config: text, vision_config: vision } = configSchema.parse(
      JSON.parse(await readFile(config, 'utf8')),
    );
    const files = (await readdir(modelDir)).filter((name) => name.endsWith('.safetensors'));
    const headers = await Promise.all(files.map((name) => readHeader(join(modelDir, name))));
    const tensors = headers
      .flatMap(({ tensors: named }) => [...named.values()])
      .map(({ dtype, shape }) => ({ dtype, elements: shape.reduce((product, size) => product * size, 1) }));
    return {
      parameters: tensors.reduce((sum, { elements }) => sum + elements, 0),
      dtype: mostCommonType(tensors),
      hidden: text.hidden_size,
      intermediate: text.intermediate_size,
      vocab: text.vocab_size,
      vision: {
        hidden: vision.hidden_size,
        intermediate: vision.intermediate_size,
        heads: vision.num_attention_heads,
        patches: Math.trunc(vision.image_size / vision.patch_size) ** 2,
      },
    };
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new KvcError('MODEL_INVALID', `${modelDir}: ${reason}`, { cause });
  }
}
