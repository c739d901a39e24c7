import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import type { z } from 'zod';

/** Reads a text file of the folder; `undefined` when the folder has none of that name. */
export async function readOptional(dir: string, file: string): Promise<string | undefined> {
  try {
    return await readFile(join(dir, file), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new KvcError('MODEL_INVALID', `${file}: cannot be read`, { cause });
  }
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
