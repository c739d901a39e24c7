// Fidelity of every codec, its rivals and what each part of it gives: fits the profiles that accuracy-entries.json
// names on scenes of seed 1001 (once; they stay in .cache/accuracy), then runs `kvcapsule eval` on them.
//
// Usage: node bench/accuracy.mjs [options of kvcapsule eval; without any: --full --out bench/results/accuracy.json]
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');
const MODEL = ['--model', join('deploy', 'models', 'emoji-vlm')];
const PROFILES = join(ROOT, '.cache', 'accuracy');
const FIT = ['--images', 'scenes:1001', '--count', '384'];

/** File, what becomes of its name where several are fitted, and the flags that make it. */
const FITS = [
  ['mixed', ['x8', 'x12', 'x16', 'x24', 'x32', 'x48'], '--ratio 8,12,16,24,32,48'],
  ['full-template', ['x8', 'x16', 'x32', 'x48'], '--ratio 8,16,32,48 --key-template all'],
  ['q8-coefficients', ['x4', 'x8'], '--codec capsule-q8 --ratio 4,8'],
  ['q4-coefficients', ['x8', 'x16'], '--codec capsule-q4 --ratio 8,16'],
  ['paper-flat', [], '--codec capsule --retention 0.4'],
  ['paper-pyramid', [], '--codec capsule --retention 0.4 --schedule pyramid'],
  ['random-rows', ['x8', 'x16'], '--ratio 8,16 --basis rows'],
  ['whole-span', [], '--ratio 16 --groups whole'],
  ['no-key-template', [], '--ratio 16 --key-template none'],
  ['no-value-template', [], '--ratio 16 --value-template none'],
  ['no-templates', [], '--ratio 16 --key-template none --value-template none'],
  ['static-bits', [], '--ratio 16 --allocation static'],
  ['no-rotation', [], '--ratio 16 --without rotation'],
  ['no-weights', [], '--ratio 16 --without weights'],
  ['no-sensitivity', [], '--ratio 16 --without sensitivity'],
];

function kvcapsule(...args) {
  const main = join(ROOT, 'apps/cli/dist/main.js');
  const { status } = spawnSync(process.execPath, [main, ...args], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

mkdirSync(PROFILES, { recursive: true });
for (const [name, endings, flags] of FITS) {
  const files = endings.length === 0 ? [name] : endings.map((ending) => `${name}-${ending}`);
  if (files.every((file) => existsSync(join(PROFILES, `${file}.safetensors`)))) continue;
  kvcapsule(
    'calibrate',
    ...MODEL,
    ...FIT,
    '--out',
    join(PROFILES, `${name}.safetensors`),
    ...flags.split(' '),
  );
}
const given = process.argv.slice(2);
const chosen = given.length > 0 ? given : ['--full', '--out', join('bench', 'results', 'accuracy.json')];
kvcapsule('eval', ...MODEL, '--entries', join('bench', 'accuracy-entries.json'), ...chosen);
