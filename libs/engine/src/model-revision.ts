import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';

async function revisionFiles(modelDir: string): Promise<string[]> {
  const names = await readdir(modelDir).catch((cause: unknown) => {
    throw new KvcError('MODEL_INVALID', `the model folder ${modelDir} cannot be read`, { cause });
  });
  const weights = names.filter((name) => name.endsWith('.safetensors')).sort();
  if (!names.includes('config.json')) {
    throw new KvcError('MODEL_INVALID', `${modelDir} holds no config.json`);
  }
  if (weights.length === 0) throw new KvcError('MODEL_INVALID', `${modelDir} holds no *.safetensors`);
  return ['config.json', ...weights];
}

/**
 * Names a model's contents: SHA-256 in hex over config.json and the weights, each preceded by its name and
 * length so that no two folders share a byte stream. Reads in chunks; weights never lie in memory as a whole.
 *
 * @throws KvcError MODEL_INVALID without a config or weights
 */
export async function modelRevision(modelDir: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of await revisionFiles(modelDir)) {
    const path = join(modelDir, name);
    const { size } = await stat(path);
    hash.update(`${name}\0${size}\0`);
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}
