import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** The checkout this CLI runs from: the nearest folder above that holds the entry script. */
export const ROOT = findRoot(import.meta.dirname);
export const DEFAULT_MODEL_DIR = join(ROOT, 'deploy/models/emoji-vlm');
export const SAMPLES_DIR = join(ROOT, 'samples');
/** Logs and scratch of a running `up`. */
export const STATE_DIR = join(ROOT, '.kvcapsule');

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
