import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CliError } from '../failure.js';

/** First bytes of the formats the server takes. */
const SIGNATURES: readonly (readonly [mime: string, offset: number, bytes: string])[] = [
  ['image/png', 0, '\x89PNG\r\n\x1a\n'],
  ['image/jpeg', 0, '\xff\xd8\xff'],
  ['image/gif', 0, 'GIF8'],
  ['image/webp', 8, 'WEBP'],
];

/** In base64, a server's largest body. */
const MAX_BYTES = 48 * 2 ** 20;

/**
 * Reads a picture as a data URI.
 * @throws CliError when there is no such file or it is not PNG, JPEG, WebP or GIF
 */
export async function pictureDataUri(path: string): Promise<string> {
  const bytes = await readPicture(path);
  const mime = pictureMime(bytes);
  if (mime === undefined)
    throw new CliError(`${path} is not a picture that can be sent.`, 'Convert it to PNG, JPEG, WebP or GIF.');
  return `data:${mime};base64,${bytes.toString('base64')}`;
}

export function pictureMime(bytes: Buffer): string | undefined {
  const head = bytes.subarray(0, 16).toString('latin1');
  return SIGNATURES.find(([, offset, signature]) => head.startsWith(signature, offset))?.[0];
}

async function readPicture(path: string): Promise<Buffer> {
  try {
    // Not blocking: to open a pipe would wait for whoever writes to it.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile() && !stat.isDirectory()) throw new CliError(`${path} is no regular file.`);
    if (stat.size > MAX_BYTES) throw new CliError(`${path} is larger than a server takes: 48 MiB.`);
    return await file.readFile();
  } catch (error) {
    if (error instanceof CliError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new CliError(`There is no file ${path}.`, 'Pictures to try lie in samples/.');
    if (code === 'EISDIR') throw new CliError(`${path} is a folder.`, 'Name one picture in it.');
    throw new CliError(`${path} cannot be read (${String(code)}).`);
  }
}
