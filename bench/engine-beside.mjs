// The engine of this checkout beside another's: `kvcapsule bench engine` of both in turns, without peers.
//
// Usage: node bench/engine-beside.mjs --baseline DIR [--rounds 5] [--out FILE] [-- OPTIONS OF bench engine]
//   DIR is a checkout that has been built, its addon too.
// A point's ratio is the other's time over this one's, of the medians that a round measured; the median over the
// rounds and their range are given. 1 is the same speed, less is slower than the other.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseOptions } from './options.mjs';
import { median, spread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const POINTS =
  '--batches 1,4,16 --contexts 128,1024,4096 --codecs capsule-mixed --repeats 3 --steps 24'.split(' ');
const { values, positionals } = parseOptions({
  options: {
    baseline: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    out: { type: 'string' },
  },
  allowPositionals: true,
});
if (!values.baseline) throw new Error('--baseline DIR is needed');
const options = positionals.length > 0 ? positionals : POINTS;
const scratch = mkdtempSync(join(tmpdir(), 'engine-beside-'));

/** Median seconds of each point and stored form. */
function measure(root) {
  const file = join(scratch, 'run.json');
  execFileSync(join(root, 'kvcapsule'), ['bench', 'engine', '--peers', 'none', '--out', file, ...options], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const points = new Map();
  for (const { content, kind, batch, context, seconds } of JSON.parse(readFileSync(file, 'utf8')).points)
    for (const [side, list] of Object.entries(seconds))
      points.set([content, kind, `${batch} x ${context}`, side].join(', '), median(list));
  return points;
}

const ratios = new Map();
for (let round = 0; round < Number(values.rounds); round += 1) {
  const order = round % 2 === 0 ? [ROOT, values.baseline] : [values.baseline, ROOT];
  const found = new Map(order.map((root) => [root, measure(resolve(root))]));
  for (const [point, ours] of found.get(ROOT))
    ratios.set(point, [...(ratios.get(point) ?? []), found.get(values.baseline).get(point) / ours]);
  console.error(`round ${round + 1} of ${values.rounds}`);
}
rmSync(scratch, { recursive: true });

const commit = (root) =>
  execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root }).toString().trim();
const points = [...ratios].map(([point, list]) => ({
  point,
  ...spread(list),
}));
const all = points.map((point) => point.median);
const result = {
  command: `node bench/engine-beside.mjs --baseline DIR --rounds ${values.rounds} -- ${options.join(' ')}`,
  commit: commit(ROOT),
  baseline: commit(values.baseline),
  machine: `${cpus()[0].model}, ${cpus().length} CPUs`,
  load: loadavg()[0],
  date: new Date().toISOString().slice(0, 10),
  rounds: Number(values.rounds),
  medianOfPoints: median(all),
  points,
};
for (const { point, median: middle, least, most } of points)
  console.log(`${middle.toFixed(3)} [${least.toFixed(3)}, ${most.toFixed(3)}]  ${point}`);
console.log(`median over all points: ${result.medianOfPoints.toFixed(3)}`);
if (values.out) writeFileSync(values.out, `${JSON.stringify(result, null, 1)}\n`);
