import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import type { NativeDtype } from './native.js';
import { readHeader } from './profiles/safetensors.js';

const STORED_TYPES = new Map<string, NativeDtype>([
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
]);

/**
 * The type that most of a model's weights are stored in; 32 bits for what the engine has no type for. Reads the
 * headers of its weights alone.
 *
 * @throws KvcError MODEL_INVALID naming the folder
 */
export async function storedDtype(modelDir: string): Promise<NativeDtype> {
  const elements = new Map<NativeDtype, number>();
  try {
    const files = (await readdir(modelDir)).filter((name) => name.endsWith('.safetensors'));
    for (const { tensors } of await Promise.all(files.map((name) => readHeader(join(modelDir, name)))))
      for (const { dtype, shape } of tensors.values()) {
        const type = STORED_TYPES.get(dtype) ?? 'f32';
        elements.set(type, (elements.get(type) ?? 0) + shape.reduce((product, size) => product * size, 1));
      }
  } catch (cause) {
    throw new KvcError('MODEL_INVALID', `${modelDir}: ${(cause as Error).message}`, { cause });
  }
  return [...elements].reduce((most, each) => (each[1] > most[1] ? each : most), ['f32', 0])[0];
}
