// This router beside others, in one run and in turns: each before backends that only pretend to compute and answer at
// the same pace, ours over gRPC before one pretended worker, the others over HTTP before two, Dynamo before two of its
// own. Ours tokenises, names pictures and reserves pages; Dynamo tokenises and places by what its workers hold; the
// others pass bodies on. A side that does not start, or fails a load, is told as failed and the others go on; what is
// known is written to --out after each round.
//
// Usage: node bench/router-beside.mjs [--peers vllm-router,smg,envoy,litellm,dynamo] [--install] [--baseline DIR]
//          [--rounds 5] [--warm-up-s 20] [--only small,prompt4k,picture1m,stream,memory] [--processes 1] [--open-streams 2000]
//          [--cache DIR] [--quick] [--out FILE]
//   --warm-up-s how long each side answers lines in a loop before anything is measured: a router runs for days, and V8
//               compiles what runs often
//   --quick     a tenth of the requests: whether all sides answer, not what they cost
//   --install   makes a virtual environment for each peer under the cache (.cache/peers) and installs it there
//   --baseline  another checkout that has been built, as one more side
//   --processes our routers behind one port
// Loads:
//   small      a line of text, four tokens back
//   prompt4k   about 4,000 tokens of text, all different
//   picture1m  a picture of 1 MB that was never seen, as a data URI
//              each of them at a steady rate that is the same for all (CPU a request; time to the first part of the
//              answer, beside that of a backend that is asked directly) and as fast as clients in a loop go (CPU a
//              request, and so requests a second of one core)
//   stream     64 streams of 400 tokens at once, one each 10 ms; CPU a token
//   memory     resident memory that open streams take, in the last round only
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseOptions } from './options.mjs';
import {
  chat,
  driveClosed,
  driveOpen,
  line,
  longText,
  MODEL,
  pictureBody,
  withOpenStreams,
} from './router/load.mjs';
import { installPeer, PEERS, startPeer } from './router/peers.mjs';
import { startBackends, startOurs } from './router/sides.mjs';
import { OPEN_TOKENS } from './router/steps.mjs';
import { cpuSecondsOf, residentMibOf } from './serving/process-tree.mjs';
import { quantile, rounded, roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const MODEL_DIR = join(ROOT, 'deploy/models', MODEL);
const PACE = { stepMs: 10, atOnce: true };

const small = () => chat(line(), 4);
const prompt = () => chat(longText(), 4);
const picture = () => pictureBody(1_000_000);

const LOADS = {
  small: { steady: { requests: 300, perSecond: 100 }, full: { requests: 2_000, at: 64 }, body: small },
  prompt4k: { steady: { requests: 40, perSecond: 10 }, full: { requests: 100, at: 16 }, body: prompt },
  picture1m: { steady: { requests: 40, perSecond: 10 }, full: { requests: 60, at: 8 }, body: picture },
};
const STREAM = { requests: 64, at: 64, body: () => chat(line(), 400) };
const STREAM_TOKENS = 64 * 400;
const ALL_LOADS = [...Object.keys(LOADS), 'stream', 'memory'];
/** How many streams are opened at a time. */
const OPENING = 32;
const SETTLE_MS = 2_000;

/** CPU seconds that the side's processes take while something is done; NaN of one whose processes do not count. */
async function cpuOf({ pid }, work) {
  const before = pid === undefined ? NaN : cpuSecondsOf([pid]);
  const result = await work();
  return { result, seconds: pid === undefined ? NaN : cpuSecondsOf([pid]) - before };
}

/** One load on one side: CPU per request in ms at a steady rate and in a loop, ms to the first part at the rate. */
async function measureLoad(side, load, share) {
  const { body } = load;
  const [steady, full] = [load.steady, load.full].map((one) => ({
    ...one,
    requests: Math.ceil(share * one.requests),
  }));
  const open = await cpuOf(side, () => driveOpen(side.url, { ...steady, body }));
  const loop =
    side.pid === undefined ? undefined : await cpuOf(side, () => driveClosed(side.url, { ...full, body }));
  return {
    steadyMs: (1_000 * open.seconds) / steady.requests,
    fullMs: loop && (1_000 * loop.seconds) / full.requests,
    firstMs: open.result.map(({ firstMs }) => firstMs),
  };
}

async function measureStream(side) {
  const { seconds } = await cpuOf(side, () => driveClosed(side.url, STREAM));
  return { tokenUs: (1e6 * seconds) / STREAM_TOKENS };
}

/** MiB that 10,000 open streams take, from so many. */
async function measureMemory({ pid, url, open }, count) {
  const before = residentMibOf([pid]);
  const { atATime = OPENING, model } = open ?? {};
  const body = () => chat(line(), OPEN_TOKENS, model);
  const mib = await withOpenStreams(url, { count, atATime, body }, async () => {
    await sleep(SETTLE_MS);
    return ((residentMibOf([pid]) - before) * 10_000) / count;
  });
  await sleep(SETTLE_MS);
  return { mib };
}

function measure(side, name, { openStreams, share }) {
  if (name === 'stream') return measureStream(side);
  return name === 'memory' ? measureMemory(side, openStreams) : measureLoad(side, LOADS[name], share);
}

/** What one side's rounds of a load come to; `direct` are the times of a backend that was asked directly. */
function summary(rounds, direct) {
  const of = (key) => rounds.map((round) => round[key]).filter((value) => value !== undefined);
  if (rounds[0].mib !== undefined) return { mibPer10kStreams: roundedSpread(of('mib')) };
  if (rounds[0].tokenUs !== undefined) {
    const us = roundedSpread(of('tokenUs'));
    return { cpuUsPerToken: us, tokensPerSecondOfACore: Math.round(1e6 / us.median) };
  }
  const full = roundedSpread(of('fullMs'));
  const directMs = direct.flatMap(({ firstMs }) => firstMs);
  const added = (share) => rounded(quantile(of('firstMs').flat(), share) - quantile(directMs, share));
  return {
    cpuMsAtSteadyRate: roundedSpread(of('steadyMs')),
    cpuMsInALoop: full,
    requestsPerSecondOfACore: Math.round(1_000 / full.median),
    addedMs: { p50: added(0.5), p99: added(0.99) },
  };
}

const commitOf = (root) =>
  execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).toString().trim();

/** The message of an error with those of its causes. */
const wordsOf = ({ message, cause }) => (cause ? `${message}: ${wordsOf(cause)}` : message);

/** The sides that start, which are among `parts` then; of the others, why they do not. */
async function startSides({ peers, baseline, processes, cache }, backends, parts) {
  const starts = [
    ['ours', () => startOurs('ours', { root: ROOT, pace: PACE, processes })],
    ...(baseline ? [['baseline', () => startOurs('baseline', { root: resolve(baseline), pace: PACE })]] : []),
    ...peers.map((name) => [
      name,
      () => startPeer(name, { cache, backends: backends.ports, modelDir: MODEL_DIR }),
    ]),
  ];
  const sides = [];
  const failed = {};
  for (const [name, start] of starts) {
    try {
      process.stderr.write(`starting ${name}\n`);
      sides.push(await start());
      parts.push(sides.at(-1));
    } catch (error) {
      failed[name] = wordsOf(error);
      process.stderr.write(`${name} does not start: ${failed[name]}\n`);
    }
  }
  return { sides, failed };
}

/** What was measured by load and side, and what failed; a side that has failed a load is not asked for it again. */
class Samples {
  measured = {};
  failed = {};

  async take(load, side, { isCounted, ...asked }) {
    if (this.failed[load]?.[side.name]) return;
    process.stderr.write(`${load}: ${side.name}\n`);
    try {
      const measured = await measure(side, load, asked);
      if (isCounted) ((this.measured[load] ??= {})[side.name] ??= []).push(measured);
    } catch (error) {
      (this.failed[load] ??= {})[side.name] = wordsOf(error);
      process.stderr.write(`${side.name} fails ${load}: ${wordsOf(error)}\n`);
    }
  }

  /** By load and side. */
  get results() {
    const loads = new Set([...Object.keys(this.measured), ...Object.keys(this.failed)]);
    return Object.fromEntries([...loads].map((load) => [load, this.#ofLoad(load)]));
  }

  #ofLoad(load) {
    const { direct = [], ...sides } = this.measured[load] ?? {};
    const measured = Object.entries(sides).map(([side, rounds]) => [side, summary(rounds, direct)]);
    const failed = Object.entries(this.failed[load] ?? {}).map(([side, why]) => [side, { failed: why }]);
    return Object.fromEntries([...measured, ...failed]);
  }
}

/** A side that fails here fails the loads, too, and is told so there. */
async function warmUp(side, seconds) {
  const until = performance.now() + 1_000 * seconds;
  try {
    while (performance.now() < until) await driveClosed(side.url, { requests: 256, at: 64, body: small });
  } catch (error) {
    process.stderr.write(`${side.name} does not warm up: ${wordsOf(error)}\n`);
  }
}

/** Every side at every load, in turns; the first round warms all up and counts for nothing. `tell` hears of each. */
async function runRounds(sides, direct, { loads, rounds, warmUpS, ...asked }, tell) {
  const samples = new Samples();
  for (const side of sides) await warmUp(side, warmUpS);
  for (let round = 0; round <= rounds; round += 1) {
    for (const load of loads) {
      if (load === 'memory' && round !== rounds) continue;
      const all = load in LOADS ? [...sides, direct] : sides;
      for (const side of round % 2 ? all : all.toReversed())
        await samples.take(load, side, { ...asked, isCounted: round > 0 });
    }
    process.stderr.write(`round ${round} of ${rounds}\n`);
    tell(samples.results);
  }
  return samples.results;
}

function tableOf(results) {
  return Object.entries(results).flatMap(([load, sides]) =>
    Object.entries(sides).map(([side, result]) => ({
      load,
      side,
      'CPU at the rate, ms': result.cpuMsAtSteadyRate?.median,
      'CPU in a loop, ms': result.cpuMsInALoop?.median,
      'a second of a core': result.requestsPerSecondOfACore ?? result.tokensPerSecondOfACore,
      'added p50, ms': result.addedMs?.p50,
      'added p99, ms': result.addedMs?.p99,
      'a token, µs': result.cpuUsPerToken?.median,
      '10,000 streams, MiB': result.mibPer10kStreams?.median,
      failed: result.failed,
    })),
  );
}

/** The command as it was given, folders of this machine left out. */
function commandLine() {
  const words = process.argv.slice(2);
  const isFolder = (word) => ['--out', '--cache', '--baseline'].includes(word);
  const told = words.filter((word, at) => !isFolder(word) && !isFolder(words[at - 1]));
  return ['node bench/router-beside.mjs', ...told].join(' ');
}

function optionsOf() {
  const { values } = parseOptions({
    options: {
      peers: { type: 'string', default: Object.keys(PEERS).join(',') },
      quick: { type: 'boolean', default: false },
      install: { type: 'boolean', default: false },
      baseline: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      'warm-up-s': { type: 'string', default: '20' },
      only: { type: 'string', default: ALL_LOADS.join(',') },
      processes: { type: 'string', default: '1' },
      'open-streams': { type: 'string', default: '2000' },
      cache: { type: 'string', default: join(ROOT, '.cache/peers') },
      out: { type: 'string' },
    },
  });
  const [peers, loads] = [values.peers, values.only].map((list) => list.split(',').filter(Boolean));
  const unknown = [
    ...peers.filter((name) => !(name in PEERS)),
    ...loads.filter((name) => !ALL_LOADS.includes(name)),
  ];
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}`);
  const [rounds, processes, openStreams] = [values.rounds, values.processes, values['open-streams']].map(
    Number,
  );
  const warmUpS = values.quick ? 1 : Number(values['warm-up-s']);
  const share = values.quick ? 0.1 : 1;
  return { ...values, peers, loads, rounds, warmUpS, processes, openStreams, share };
}

/** Stops all that has been started, also when this process is told to end. */
function stopperOf(parts) {
  const stopAll = () => Promise.all(parts.splice(0).map((part) => part.stop()));
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => void stopAll().finally(() => process.exit(1)));
  return stopAll;
}

async function main() {
  const options = optionsOf();
  const { peers, baseline, cache, out } = options;
  if (options.install) for (const name of peers) installPeer(name, cache);
  const parts = [];
  const stopAll = stopperOf(parts);
  try {
    const backends = await startBackends(PACE);
    parts.push(backends);
    const { sides, failed } = await startSides(options, backends, parts);
    const report = {
      command: commandLine(),
      commits: { ours: commitOf(ROOT), ...(baseline && { baseline: commitOf(baseline) }) },
      peers: Object.fromEntries(peers.map((name) => [name, PEERS[name].packages[0].at(-1)])),
      notes: peers.flatMap((name) => PEERS[name].note ?? []),
      machine: `${cpus()[0].model}, ${cpus().length} cores`,
      notStarted: failed,
    };
    const tell = (results) => {
      const text = JSON.stringify({ ...report, load: loadavg().map(rounded), results }, undefined, 2);
      if (out) writeFileSync(out, `${text}\n`);
    };
    const direct = { name: 'direct', url: backends.url };
    console.table(tableOf(await runRounds(sides, direct, options, tell)));
  } finally {
    await stopAll();
  }
}

await main();
process.exit();
