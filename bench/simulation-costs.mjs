// How long the real engine's steps and pictures take, for engines that only keep time: fits the costs of a step's rows
// and of what they attend to, and of a picture's tiles, and writes them with what the engine says of itself. The
// fastest of some repetitions counts, since a shared machine makes steps longer and never shorter; rows are raw.
//
// Usage: node bench/simulation-costs.mjs [--model FOLDER] [--threads 2] [--repeats 5] [--out FILE]
//   ./kvcapsule up has to have built everything once
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { greedySample } from '@kvcapsule/domain/model-input';
import { openEngine, servedCodecs, storedDtype } from '@kvcapsule/engine';
import { buildPlan } from '@kvcapsule/engine/plan';
import { openModelFolder } from '@kvcapsule/model';
import { decodeImage } from '@kvcapsule/multimodal';
import { DEMO_ENGINE, fitCosts, pictureMs, stepMs, stepWork } from '@kvcapsule/simulation';
import prettier from 'prettier';
import { parseOptions } from './options.mjs';
import { quantile } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const { values } = parseOptions({
  options: {
    model: { type: 'string', default: join(ROOT, 'deploy/models/emoji-vlm') },
    threads: { type: 'string', default: '2' },
    repeats: { type: 'string', default: '5' },
    out: { type: 'string', default: DEMO_ENGINE },
  },
});
const repeats = Number(values.repeats);
const threads = Number(values.threads);
const KV_DTYPE = 'f16';
const SEQUENCES = 16;
const LONGEST = 1_024;
const DECODES = 6;

const weights = await storedDtype(values.model);
const folder = await openModelFolder(values.model);
const blocksEach = LONGEST / 16 + 1;
const engine = await openEngine({
  ...{ modelDir: values.model, weights, kvDtype: KV_DTYPE, threads },
  ...{ poolBlocks: blocksEach * SEQUENCES, maxSlots: SEQUENCES, maxStepTokens: 2_048 },
});
const { info } = engine;

const tokenAt = (index) => 10 + ((index * 7) % 900);
/** Next rows of some slots, each after what it holds. */
function planOf(changes, works) {
  let row = 0;
  const chunks = works.map(({ slot, first, count }) => ({
    ...{ slot, segment: 0, firstIndex: first, firstPosition: first },
    tokens: Array.from({ length: count }, (_, index) => tokenAt(first + index)),
  }));
  const samples = works.map(({ count }) => greedySample((row += count) - 1));
  return buildPlan({ changes, chunks, samples });
}
function openings(slots) {
  return Array.from({ length: slots }, (_, slot) => {
    const first = slot * blocksEach;
    const blocks = Array.from({ length: blocksEach }, (_, index) => first + index);
    return [
      { kind: 'open', slot },
      { kind: 'segment', slot },
      { kind: 'blocks', slot, segment: 0, blocks },
    ];
  }).flat();
}
const closings = (slots) => Array.from({ length: slots }, (_, slot) => ({ kind: 'close', slot }));

async function msOf(work) {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/** Of steps that are alike: the fastest. */
const fastest = new Map();
async function timedStep(key, works) {
  const plan = planOf([], works);
  const work = stepWork(plan);
  const ms = await msOf(() => engine.step(plan));
  const before = fastest.get(key);
  if (!before || ms < before.ms) fastest.set(key, { work, ms });
}

/** A prompt in chunks of one size, then nothing. */
async function prefill(chunk, tokens) {
  await engine.step(planOf(openings(1), []));
  for (let first = 0; first < tokens; first += chunk)
    await timedStep(`${chunk} rows after ${first}`, [{ slot: 0, first, count: chunk }]);
  await engine.step(planOf(closings(1), []));
}

/** Sequences of one length that decode together. */
async function decode(sequences, tokens) {
  await engine.step(planOf(openings(sequences), []));
  for (let slot = 0; slot < sequences; slot += 1)
    await engine.step(planOf([], [{ slot, first: 0, count: tokens }]));
  const slots = Array.from({ length: sequences }, (_, slot) => slot);
  for (let step = 0; step < DECODES; step += 1)
    await timedStep(
      `${sequences} after ${tokens}`,
      slots.map((slot) => ({ slot, first: tokens + step, count: 1 })),
    );
  await engine.step(planOf(closings(sequences), []));
}

const pictures = [];
async function picture(width, height) {
  const rgb = new Uint8Array(3 * width * height).map((_, index) => (index * 31) % 251);
  let handle, tokens;
  const ms = await msOf(async () => ({ handle, tokens } = await engine.encodeImage(rgb, width, height)));
  await engine.releaseImage(handle);
  const tiles = tokens / info.tokensPerTile;
  const before = pictures.find((each) => each.tiles === tiles);
  if (!before) pictures.push({ tiles, ms });
  else before.ms = Math.min(before.ms, ms);
}

// the first steps load what the others find loaded
await prefill(512, 512);
fastest.clear();
for (let round = 0; round < repeats; round += 1) {
  for (const chunk of [32, 128, 512, LONGEST]) await prefill(chunk, LONGEST);
  for (const sequences of [1, 4, SEQUENCES])
    for (const tokens of [32, 256, LONGEST]) await decode(sequences, tokens);
  for (const [width, height] of [
    [64, 64],
    [128, 64],
    [128, 128],
    [192, 128],
    [256, 256],
  ])
    await picture(width, height);
  process.stderr.write(`round ${round + 1} of ${repeats}\n`);
}
await engine.dispose();
await folder.dispose();

const steps = [...fastest.values()];
const costs = fitCosts(steps, pictures);
const errors = [
  ...steps.map(({ work, ms }) => Math.abs(stepMs(costs, work) / ms - 1)),
  ...pictures.map(({ tiles, ms }) => Math.abs(pictureMs(costs, tiles) / ms - 1)),
];
const errorAt = (share) => Number(quantile(errors, share).toFixed(3));
const [codec = 'raw'] = ['capsule-mixed', 'capsule'].filter((each) => servedCodecs(info).includes(each));
const commit = execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).toString().trim();
const result = {
  measured: {
    command: `node bench/simulation-costs.mjs --threads ${threads} --repeats ${repeats}`,
    commit,
    machine: `${cpus()[0].model}, ${cpus().length} CPUs`,
    threads,
    load: Number(loadavg()[0].toFixed(1)),
    error: { median: errorAt(0.5), p90: errorAt(0.9) },
  },
  ...{ weights, kvDtype: KV_DTYPE, codec },
  profileId: engine.profiles.map(({ path, contentSha256 }) => `${basename(path)}@${contentSha256}`).join(','),
  costs: Object.fromEntries(Object.entries(costs).map(([name, ms]) => [name, Number(ms.toPrecision(4))])),
  info: {
    ...info,
    formats: info.formats.map((format) => ({ ...format, markerRows: [...format.markerRows] })),
  },
};
const options = await prettier.resolveConfig(values.out);
writeFileSync(values.out, await prettier.format(JSON.stringify(result), { ...options, parser: 'json' }));
process.stdout.write(`${JSON.stringify({ ...result.measured, costs: result.costs }, null, 1)}\n`);
