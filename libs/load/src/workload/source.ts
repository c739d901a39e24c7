import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import type { Workload } from './conversation.js';
import { type GeneratedMix, GeneratedWorkload } from './generated.js';
import { parseMooncake, parseTraceCsv, ShareGptWorkload, TraceWorkload } from './traces.js';
import type { WordTokens } from './words.js';

/** Where requests come from, as it can be told to another process. */
export type WorkloadSource =
  | { readonly kind: 'generated'; readonly mix: GeneratedMix; readonly words: WordTokens }
  | { readonly kind: 'trace'; readonly path: string; readonly speed: number; readonly words: WordTokens }
  | {
      readonly kind: 'conversations';
      readonly path: string;
      readonly turns: number;
      readonly outputTokens: number;
    };

const MOST_FILE_BYTES = 512 * 2 ** 20;

/** @throws KvcError CONFIG_INVALID for a file that cannot be read, is too large or of another shape */
export async function openWorkload(source: WorkloadSource, seed: number): Promise<Workload> {
  if (source.kind === 'generated') return new GeneratedWorkload(seed, source.mix, source.words);
  const name = basename(source.path);
  const text = await readBounded(source.path, name);
  if (source.kind === 'conversations')
    return new ShareGptWorkload(name, text, source.turns, source.outputTokens);
  const rows = text.trimStart().startsWith('{') ? parseMooncake(name, text) : parseTraceCsv(name, text);
  return new TraceWorkload(seed, rows, source.speed, source.words);
}

async function readBounded(path: string, name: string): Promise<string> {
  const unreadable = (cause: unknown) => new KvcError('CONFIG_INVALID', `${name} cannot be read`, { cause });
  const { size } = await stat(path).catch((cause: unknown) => {
    throw unreadable(cause);
  });
  if (size > MOST_FILE_BYTES)
    throw new KvcError('CONFIG_INVALID', `${name}: more than ${MOST_FILE_BYTES / 2 ** 20} MiB`);
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw unreadable(cause);
  });
}
