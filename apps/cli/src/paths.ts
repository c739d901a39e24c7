import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/** The checkout this CLI runs from: the nearest folder above that holds the entry script. */
export const ROOT = findRoot(import.meta.dirname);
export const DEFAULT_MODEL_DIR = join(ROOT, 'deploy/models/emoji-vlm');
export const SAMPLES_DIR = join(ROOT, 'samples');
/**
 * Where `up` keeps logs, the first of these that takes them: in the checkout, unless that is another user's, and in
 * this user's own state folder (XDG base directories).
 */
export function stateDirs(env: NodeJS.ProcessEnv = process.env): readonly string[] {
  const own = join(ROOT, '.kvcapsule');
  const ofUser = join(env['XDG_STATE_HOME'] || join(homedir(), '.local/state'), 'kvcapsule');
  try {
    accessSync(existsSync(own) ? own : ROOT, constants.W_OK);
    return [own, ofUser];
  } catch {
    return [ofUser];
  }
}

/** The built entry point of a part. */
export function partMain(part: 'router' | 'worker'): string {
  return join(ROOT, 'apps', part, 'dist/main.js');
}

function findRoot(from: string): string {
  for (let dir = from; ; dir = dirname(dir)) {
    if (existsSync(join(dir, 'kvcapsule')) && existsSync(join(dir, 'package.json'))) return dir;
    if (dirname(dir) === dir) return resolve(from, '../../..');
  }
}
