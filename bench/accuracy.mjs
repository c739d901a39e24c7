// Fidelity of every codec, its rivals and what each part of it gives: fits the profiles that accuracy-entries.json
// names on scenes of seed 1001 (once; they stay in .cache/accuracy), then runs `kvcapsule eval` on them.
//
// Usage: node bench/accuracy.mjs [--fit-only | further options of kvcapsule eval, as --threads 2]
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseOptions } from './options.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const MODEL = ['--model', join('deploy', 'models', 'emoji-vlm')];
const PROFILES = join(ROOT, '.cache', 'accuracy');
/** Of all packed profiles: one pass over the pictures, whose statistics stay. */
const PACKED = `--images scenes:1001 --count 1536 --statistics ${PROFILES}`;
/** Error for bytes alone, whatever attention takes. */
const EVERY_ROW = '--candidates 1.7 --row-cost 0';
const PAPER = '--images scenes:1001 --count 384 --codec capsule --retention 0.4';
/** Rows as they are, each with a scale, as quantised caches keep them. */
const PLAIN = '--basis rows --key-template none --value-template none --without rotation,weights,allocation';
/**
 * 5,040 answers an entry: known artwork with everything there is; artwork that neither training nor fits saw; and
 * the default beside what claims a narrower interval, for which its entry asks for more scenes.
 */
const SERIES = [
  [
    ...[
      '--entries',
      join('bench', 'accuracy-entries.json'),
      '--out',
      join('bench', 'results', 'accuracy.json'),
    ],
    ...'--full --scenes 840 --conversations 294 --several 196 --attention 48'.split(' '),
  ],
  [
    ...['--entries', join('bench', 'accuracy-entries-unseen.json')],
    ...['--out', join('bench', 'results', 'accuracy-unseen.json'), '--artwork', 'unseen', '--scenes', '840'],
  ],
  [
    ...['--entries', join('bench', 'accuracy-entries-claims.json')],
    ...['--out', join('bench', 'results', 'accuracy-claims.json'), '--scenes', '840'],
  ],
];

/** File, what becomes of its name where several are fitted, and the flags that make it. */
const FITS = [
  [
    'mixed',
    ['x2', 'x4', 'x6', 'x8', 'x12', 'x24', 'x32', 'x48'],
    `${PACKED} --ratio 2,4,6,8,12,24,32,48 ${EVERY_ROW}`,
  ],
  [
    'full-template',
    ['x8', 'x12', 'x16', 'x24', 'x31', 'x32', 'x48'],
    `${PACKED} --ratio 8,12,16,24,31,32,48 --key-template all --without sensitivity ${EVERY_ROW}`,
  ],
  ['measured-full', ['x16', 'x32'], `${PACKED} --ratio 16,32 --key-template all ${EVERY_ROW}`],
  ['q8-coefficients', ['x4', 'x8', 'x16'], `${PACKED} --codec capsule-q8 --ratio 4,8,16`],
  ['q4-coefficients', ['x8', 'x16', 'x32'], `${PACKED} --codec capsule-q4 --ratio 8,16,32`],
  ['paper-flat', [], PAPER],
  ['paper-pyramid', [], `${PAPER} --schedule pyramid`],
  ['q2-rows', [], `${PACKED} --ratio 7 --codec capsule-q4 --row-bits 2 ${PLAIN}`],
  ['random-rows', ['x8', 'x16'], `${PACKED} --ratio 8,16 --basis rows`],
  ['equal-bits', [], `${PACKED} --ratio 15 --codec capsule-q4 --row-bits 1 --without allocation`],
  ['whole-span', [], `${PACKED} --ratio 16 --groups whole`],
  ['no-key-template', [], `${PACKED} --ratio 16 --key-template none`],
  ['no-value-template', [], `${PACKED} --ratio 16 --value-template none`],
  ['no-templates', [], `${PACKED} --ratio 16 --key-template none --value-template none`],
  ['static-bits', [], `${PACKED} --ratio 16 --allocation static`],
  ['every-row', [], `${PACKED} --ratio 16 ${EVERY_ROW}`],
  ['fewest-rows', [], `${PACKED} --ratio 16 --candidates 1.0 --row-cost 0.375`],
  ['no-rotation', [], `${PACKED} --ratio 16 --without rotation`],
  ['no-weights', [], `${PACKED} --ratio 16 --without weights`],
  ['no-sensitivity', [], `${PACKED} --ratio 16 --without sensitivity`],
];

function kvcapsule(...args) {
  const main = join(ROOT, 'apps/cli/dist/main.js');
  const { status } = spawnSync(process.execPath, [main, ...args], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

const { values } = parseOptions({
  options: { 'fit-only': { type: 'boolean', default: false } },
  // what it does not know is kvcapsule eval's
  ...{ strict: false, allowPositionals: true },
});
mkdirSync(PROFILES, { recursive: true });
for (const [name, endings, flags] of FITS) {
  const files = endings.length === 0 ? [name] : endings.map((ending) => `${name}-${ending}`);
  if (files.every((file) => existsSync(join(PROFILES, `${file}.safetensors`)))) continue;
  const out = join(PROFILES, `${name}.safetensors`);
  kvcapsule('calibrate', ...MODEL, '--out', out, ...flags.split(' '));
}
if (!values['fit-only']) {
  for (const series of SERIES) kvcapsule('eval', ...MODEL, ...series, ...process.argv.slice(2));
}
