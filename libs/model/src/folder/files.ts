import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import type { z } from 'zod';

/** More than any file of text in a folder: the largest vocabularies take 35 MiB. */
const MAX_BYTES = 128 * 1024 * 1024;

/**
 * Reads a file that must be one: what hands out bytes for ever, or none until somebody writes, such as a device or a
 * pipe, is told from it before it is read, links followed. `undefined` when there is none of that name.
 *
 * @throws KvcError MODEL_INVALID when it is no file, has more than `maxBytes`, or cannot be read
 */
export async function readBytes(
  dir: string,
  file: string,
  maxBytes = MAX_BYTES,
): Promise<Buffer | undefined> {
  const fault = (problem: string, cause?: unknown) =>
    new KvcError('MODEL_INVALID', `${file}: ${problem}`, { cause });
  try {
    // Not blocking: to open a pipe would wait for whoever writes to it.
    await using handle = await open(join(dir, file), constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile()) throw fault(stat.isDirectory() ? 'is a folder' : 'is no regular file');
    if (stat.size > maxBytes) throw fault(`has more than ${maxBytes / 1024} KiB`);
    const bytes = Buffer.allocUnsafe(stat.size);
    const { bytesRead } = await handle.read(bytes, 0, stat.size, 0);
    return bytes.subarray(0, bytesRead);
  } catch (cause) {
    if (cause instanceof KvcError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw fault(`cannot be read (${String(code)})`, cause);
  }
}

/** Reads a text file of the folder; as `readBytes`. */
export async function readOptional(
  dir: string,
  file: string,
  maxBytes?: number,
): Promise<string | undefined> {
  return (await readBytes(dir, file, maxBytes))?.toString('utf8');
}

function fieldOf(issue: z.core.$ZodIssue): string {
  return issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
}

/** Checks the text of a JSON file against a schema; an error names the file and the first field at fault. */
export function parseFile<S extends z.ZodType>(schema: S, file: string, text: string): z.output<S> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new KvcError('MODEL_INVALID', `${file}: not JSON`, { cause });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new KvcError(
    'MODEL_INVALID',
    `${file}: ${issue ? fieldOf(issue) + issue.message : 'not as expected'}`,
    {
      cause: result.error,
    },
  );
}

export async function readRequired<S extends z.ZodType>(
  schema: S,
  dir: string,
  file: string,
): Promise<z.output<S>> {
  const text = await readOptional(dir, file);
  if (text === undefined) throw new KvcError('MODEL_INVALID', `${file}: missing from the model folder`);
  return parseFile(schema, file, text);
}

export async function readIfThere<S extends z.ZodType>(
  schema: S,
  dir: string,
  file: string,
): Promise<z.output<S> | undefined> {
  const text = await readOptional(dir, file);
  return text === undefined ? undefined : parseFile(schema, file, text);
}
