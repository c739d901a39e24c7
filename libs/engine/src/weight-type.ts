import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import type { NativeDtype } from './native.js';
import { readHeader, type SafetensorsHeader } from './profiles/safetensors.js';

const STORED_TYPES = new Map<string, NativeDtype>([
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
]);

/**
 * The type that most of a model's weights are stored in; 32 bits for what the engine has no type for. Reads the
 * headers of its weights alone, and that each file is as long as its header says: a download that broke off is told
 * as such, before profiles are compared with weights that are not whole.
 *
 * @throws KvcError MODEL_INVALID naming the file or the folder
 */
export async function storedDtype(modelDir: string): Promise<NativeDtype> {
  const elements = new Map<NativeDtype, number>();
  for (const { tensors } of await weightHeaders(modelDir))
    for (const { dtype, shape } of tensors.values()) {
      const type = STORED_TYPES.get(dtype) ?? 'f32';
      elements.set(type, (elements.get(type) ?? 0) + shape.reduce((product, size) => product * size, 1));
    }
  return [...elements].reduce((most, each) => (each[1] > most[1] ? each : most), ['f32', 0])[0];
}

async function weightHeaders(modelDir: string): Promise<SafetensorsHeader[]> {
  const names = await readdir(modelDir).catch((cause: unknown) => {
    throw new KvcError('MODEL_INVALID', `${modelDir}: ${(cause as Error).message}`, { cause });
  });
  const files = names.filter((name) => name.endsWith('.safetensors')).sort();
  return Promise.all(files.map((name) => wholeHeader(join(modelDir, name))));
}

async function wholeHeader(path: string): Promise<SafetensorsHeader> {
  try {
    const header = await readHeader(path);
    const wanted = header.dataOffset + header.dataBytes;
    const { size } = await stat(path);
    if (size < wanted) throw new Error(`cut off, it has ${size} of ${wanted} bytes: fetch it again`);
    return header;
  } catch (cause) {
    throw new KvcError('MODEL_INVALID', `${path}: ${(cause as Error).message}`, { cause });
  }
}
