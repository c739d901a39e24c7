// This router beside others, in one run and in turns: each before backends that only pretend to compute and answer at
// the same pace, ours over gRPC before one pretended worker, the others over HTTP before two. Ours tokenises, names
// pictures and reserves pages; the others pass bodies on.
//
// Usage: node bench/router-beside.mjs [--peers vllm-router,smg,envoy] [--install] [--baseline DIR] [--rounds 5]
//        [--only small,prompt4k,picture1m,stream,memory] [--processes 1] [--open-streams 2000] [--cache DIR] [--out FILE]
//   --install   makes a virtual environment for each peer under the cache (.cache/peers) and installs it there
//   --baseline  another checkout that has been built, as one more side
//   --processes our routers behind one port
//   small      a line of text, four tokens back
//   prompt4k   about 4,000 tokens of text, all different
//   picture1m  a picture of 1 MB that was never seen, as a data URI
//              each of them at a steady rate that is the same for all (CPU a request; time to the first part of the
//              answer, beside that of a backend that is asked directly) and as fast as clients in a loop go (CPU a
//              request, and so requests a second of one core)
//   stream     64 streams of 400 tokens at once, one each 10 ms; CPU a token
//   memory     resident memory that open streams take
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { chat, driveClosed, driveOpen, line, longText, openStream, pictureBody } from './router/load.mjs';
import { PEERS, startBackends, startOurs, startPeer } from './router/sides.mjs';
import { OPEN_TOKENS } from './router/steps.mjs';
import { cpuSecondsOf, residentMibOf } from './serving/process-tree.mjs';
import { quantile, rounded, roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
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
/** How many streams are opened at a time. */
const OPENING = 32;

/** CPU seconds that the side's processes take while something is done; NaN of one whose processes do not count. */
async function cpuOf({ pid }, work) {
  const before = pid === undefined ? NaN : cpuSecondsOf([pid]);
  const result = await work();
  return { result, seconds: pid === undefined ? NaN : cpuSecondsOf([pid]) - before };
}

/** One load on one side: CPU per request in ms at a steady rate and in a loop, ms to the first part at the rate. */
async function measureLoad(side, { steady, full, body }) {
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
async function measureMemory(side, count) {
  const agent = new http.Agent();
  const before = residentMibOf([side.pid]);
  const hangUps = [];
  while (hangUps.length < count) {
    const asked = Array.from({ length: Math.min(OPENING, count - hangUps.length) }, () =>
      openStream(side.url, agent, chat(line(), OPEN_TOKENS)),
    );
    hangUps.push(...(await Promise.all(asked)));
  }
  await sleep(2_000);
  const mib = ((residentMibOf([side.pid]) - before) * 10_000) / count;
  for (const hangUp of hangUps) hangUp();
  await sleep(2_000);
  return { mib };
}

function measure(side, name, openStreams) {
  if (name === 'stream') return measureStream(side);
  return name === 'memory' ? measureMemory(side, openStreams) : measureLoad(side, LOADS[name]);
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
  const added = (share) =>
    rounded(
      quantile(of('firstMs').flat(), share) -
        quantile(
          direct.flatMap(({ firstMs }) => firstMs),
          share,
        ),
    );
  return {
    cpuMsAtSteadyRate: roundedSpread(of('steadyMs')),
    cpuMsInALoop: full,
    requestsPerSecondOfACore: Math.round(1_000 / full.median),
    addedMs: { p50: added(0.5), p99: added(0.99) },
  };
}

function install(name, cache) {
  const venv = join(cache, name, 'venv');
  if (existsSync(join(venv, 'bin', PEERS[name].command))) return;
  mkdirSync(join(cache, name), { recursive: true });
  execFileSync('python3', ['-m', 'venv', venv], { stdio: 'inherit' });
  const quiet = ['install', '--quiet', '--disable-pip-version-check'];
  execFileSync(join(venv, 'bin/pip'), [...quiet, ...PEERS[name].packages], { stdio: 'inherit' });
}

const commitOf = (root) =>
  execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).toString().trim();

async function startSides({ peers, baseline, processes }, { cache, backends }) {
  const sides = [await startOurs('ours', { root: ROOT, pace: PACE, processes })];
  if (baseline) sides.push(await startOurs('baseline', { root: resolve(baseline), pace: PACE }));
  for (const name of peers) sides.push(await startPeer(name, { cache, backends: backends.ports }));
  return sides;
}

/** Every side at every load, in turns; the first round warms all up and counts for nothing. */
async function runRounds(sides, direct, { loads, rounds, openStreams }) {
  const samples = {};
  for (let round = 0; round <= rounds; round += 1) {
    for (const name of loads) {
      const isOnce = name === 'memory' && round !== rounds;
      const asked = name in LOADS ? [...sides, direct] : sides;
      for (const side of isOnce ? [] : round % 2 ? asked : asked.toReversed()) {
        const measured = await measure(side, name, openStreams);
        if (round > 0) ((samples[name] ??= {})[side.name] ??= []).push(measured);
      }
    }
    process.stderr.write(`round ${round} of ${rounds}\n`);
  }
  return samples;
}

function tableOf(loads, results) {
  return loads.flatMap((name) =>
    Object.entries(results[name]).map(([side, result]) => ({
      load: name,
      side,
      'CPU at the rate, ms': result.cpuMsAtSteadyRate?.median,
      'CPU in a loop, ms': result.cpuMsInALoop?.median,
      'a second of a core': result.requestsPerSecondOfACore ?? result.tokensPerSecondOfACore,
      'added p50, ms': result.addedMs?.p50,
      'added p99, ms': result.addedMs?.p99,
      'a token, µs': result.cpuUsPerToken?.median,
      '10,000 streams, MiB': result.mibPer10kStreams?.median,
    })),
  );
}

async function main() {
  const { values } = parseArgs({
    options: {
      peers: { type: 'string', default: 'vllm-router,smg,envoy' },
      install: { type: 'boolean', default: false },
      baseline: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      only: { type: 'string', default: [...Object.keys(LOADS), 'stream', 'memory'].join(',') },
      processes: { type: 'string', default: '1' },
      'open-streams': { type: 'string', default: '2000' },
      cache: { type: 'string', default: join(ROOT, '.cache/peers') },
      out: { type: 'string' },
    },
  });
  const peers = values.peers.split(',').filter(Boolean);
  if (values.install) for (const name of peers) install(name, values.cache);
  const processes = Number(values.processes);
  const backends = await startBackends(PACE);
  const direct = { name: 'direct', url: backends.url };
  const loads = values.only.split(',');
  const asked = { loads, rounds: Number(values.rounds), openStreams: Number(values['open-streams']) };
  let sides = [];
  let samples;
  try {
    sides = await startSides({ ...values, peers, processes }, { cache: values.cache, backends });
    samples = await runRounds(sides, direct, asked);
  } finally {
    await Promise.all([...sides.map((side) => side.stop()), backends.stop()]);
  }
  const results = Object.fromEntries(
    loads.map((name) => [
      name,
      Object.fromEntries(
        sides.map((side) => [side.name, summary(samples[name][side.name], samples[name].direct)]),
      ),
    ]),
  );
  console.table(tableOf(loads, results));
  const words = process.argv.slice(2);
  const told = words.filter(
    (word, at) => !['--out', '--cache'].some((flag) => word === flag || words[at - 1] === flag),
  );
  const report = {
    command: `node bench/router-beside.mjs ${told.join(' ')}`.trim(),
    commits: { ours: commitOf(ROOT), ...(values.baseline && { baseline: commitOf(values.baseline) }) },
    peers: Object.fromEntries(peers.map((name) => [name, PEERS[name].packages[0]])),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    load: loadavg().map(rounded),
    results,
  };
  if (values.out) writeFileSync(values.out, `${JSON.stringify(report, undefined, 2)}\n`);
}

await main();
process.exit();
