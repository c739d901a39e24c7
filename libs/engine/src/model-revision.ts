import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';

/** Throws what {@link modelRevision} rejects with, before anything is read. */
export async function revisionFiles(modelDir: string): Promise<string[]> {
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

/** Read at a time. */
const CHUNK_BYTES = 2 ** 20;

/**
 * Names a model's contents: SHA-256 in hex over config.json and the weights, each preceded by its name and
 * length so that no two folders share a byte stream.
 *
 * @throws KvcError MODEL_INVALID without a config or weights
 */
export async function modelRevision(modelDir: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of await revisionFiles(modelDir)) {
    const file = await open(join(modelDir, name));
    try {
      hash.update(`${name}\0${(await file.stat()).size}\0`);
      for await (const chunk of chunks(file)) hash.update(chunk);
    } finally {
      await file.close();
    }
  }
  return hash.digest('hex');
}

/**
 * What a file holds, in order. Each chunk is read while the one before is worked on, into the same two buffers again:
 * streams would leave half the size of the weights to the garbage collector.
 */
async function* chunks(file: FileHandle): AsyncGenerator<Buffer> {
  let [free, filled] = [Buffer.allocUnsafe(CHUNK_BYTES), Buffer.allocUnsafe(CHUNK_BYTES)];
  let reading = file.read(free);
  for (;;) {
    const { bytesRead } = await reading;
    if (bytesRead === 0) return;
    [free, filled] = [filled, free];
    reading = file.read(free);
    yield filled.subarray(0, bytesRead);
  }
}
