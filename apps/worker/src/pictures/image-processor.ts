import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const FILES = ['preprocessor_config.json', 'processor_config.json'];

/**
 * Names what turns pixels into features: the model with the type of its weights, and the settings of its image
 * processor. A file that is not there counts as an empty one.
 */
export async function nameImageProcessor(
  modelDir: string,
  modelRevision: string,
  weights: string,
): Promise<string> {
  const hash = createHash('sha256');
  for (const name of FILES) {
    const content = await readFile(join(modelDir, name)).catch(() => Buffer.alloc(0));
    hash.update(`${name}\0${content.length}\0`).update(content);
  }
  return `${modelRevision} ${weights} ${hash.digest('hex')}`;
}
