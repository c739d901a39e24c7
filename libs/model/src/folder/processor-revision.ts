import { createHash } from 'node:crypto';
import { readBytes } from './files.js';

/** All files that say how messages and pictures become tokens. */
const PROCESSOR_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  'chat_template.json',
  'preprocessor_config.json',
  'processor_config.json',
] as const;

/**
 * Names what turns messages and pictures into tokens: SHA-256, in hex, over the folder's processor files, each behind
 * its name and length; one that is not there counts as none of that name. A router uses workers with its own alone:
 * two folders of one name may hold other tokens for the same text.
 *
 * @throws KvcError MODEL_INVALID for a file that cannot be read
 */
export async function processorRevision(dir: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of PROCESSOR_FILES) {
    const bytes = await readBytes(dir, name);
    if (bytes) hash.update(`${name}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}
