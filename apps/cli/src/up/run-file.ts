import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isAlive } from './log-folder.js';

/** What commands on the same machine need to know of an `up` and no client may know. */
const RunFile = z.object({
  /** Of the `up`. */
  pid: z.int().positive(),
  /** Of its private Redis, with the password: a secret. */
  redisUrl: z.string(),
});
export type RunFile = z.infer<typeof RunFile>;

/** Two `up` have two ports. */
const pathOf = (stateDir: string, port: string): string => join(stateDir, 'run', `${port}.json`);

/** Writes it for whoever may read the files of this user alone. Returns what removes it. */
export function writeRunFile(stateDir: string, port: string, run: RunFile): () => void {
  const path = pathOf(stateDir, port);
  const partial = `${path}.${String(run.pid)}`;
  mkdirSync(join(stateDir, 'run'), { recursive: true, mode: 0o700 });
  rmSync(partial, { force: true });
  writeFileSync(partial, JSON.stringify(run), { mode: 0o600, flag: 'wx' });
  renameSync(partial, path);
  return () => {
    rmSync(path, { force: true });
  };
}

/** That of the `up` whose API listens at `port`; undefined where none runs that has left one in any of the folders. */
export function readRunFile(stateDirs: readonly string[], port: string): RunFile | undefined {
  return stateDirs.map((dir) => readOne(pathOf(dir, port))).find((run) => run !== undefined);
}

function readOne(path: string): RunFile | undefined {
  try {
    const run = RunFile.parse(JSON.parse(readFileSync(path, 'utf8')));
    return isAlive(run.pid) ? run : undefined;
  } catch {
    return undefined;
  }
}
