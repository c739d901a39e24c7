// Whether one core of the load generator loads one core of a router to its limit: the router, all its threads, is bound
// to one core, the generator to another one, which it shares with the worker (that only pretends to compute). CPU of one
// load process and of the router for the same requests, and of how much of its core the router was on. Where that is
// nearly all, the router is at its limit; where the generator takes less CPU for a request than the router, that is so
// whatever else the machine does meanwhile.
//
// Usage: node bench/load-limit.mjs [--rounds 3] [--seconds 10] [--out FILE]
import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseOptions } from './options.mjs';
import { MODEL } from './router/load.mjs';
import { startOurs } from './router/sides.mjs';
import { cpuSecondsOf } from './serving/process-tree.mjs';
import { rounded, roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const CLI = join(ROOT, 'apps/cli/dist/main.js');
const run = promisify(execFile);
/** Cores of the router, and of the generator with what else there is. */
const CORES = { router: '0', generator: '1' };
const bind = (core, pid) => execFileSync('taskset', ['-a', '-c', '-p', core, String(pid)]);
const PACE = { stepMs: 10, atOnce: true };

const LOADS = {
  'a line of text, 4 tokens back': ['--prompt-tokens', '16', '--output-tokens', '4', '--concurrency', '128'],
  '4,000 tokens of text, 4 back': ['--prompt-tokens', '4000', '--output-tokens', '4', '--concurrency', '64'],
  'a new picture of 512 x 512, 4 tokens back': [
    ...['--picture-share', '1', '--picture-size', '512x512', '--prompt-tokens', '16', '--output-tokens', '4'],
    ...['--concurrency', '64'],
  ],
  'streams of 400 tokens': ['--prompt-tokens', '16', '--output-tokens', '400', '--concurrency', '256'],
};

const { values } = parseOptions({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '10' },
    out: { type: 'string' },
  },
});

/** Of one run: CPU of both, wall, and what was done. */
async function measure(side, flags) {
  const cpu = () => [side.pid, side.workerPid].map((pid) => cpuSecondsOf([pid]));
  const before = cpu();
  const { stdout } = await run('taskset', [
    ...['-c', CORES.generator, process.execPath],
    ...[
      CLI,
      'bench',
      'serve',
      '--url',
      String(side.url),
      '--model',
      MODEL,
      '--duration',
      `${values.seconds}s`,
    ],
    ...['--warm-up', '0s', '--lag-limit', '1h', '--json', ...flags],
  ]);
  const [router, worker] = cpu().map((seconds, at) => seconds - before[at]);
  const { counts, seconds, generator, tokens } = JSON.parse(stdout).summary;
  const failed = Object.values(counts.errors).reduce((sum, count) => sum + count, 0);
  if (failed > 0) throw new Error(JSON.stringify(counts));
  return {
    requestsPerSecond: counts.ok / seconds,
    tokensPerSecond: tokens.completion / seconds,
    routerMs: (1_000 * router) / counts.ok,
    generatorMs: (1_000 * generator.cpuSeconds) / counts.ok,
    times: router / generator.cpuSeconds,
    routerCores: router / seconds,
    generatorCores: generator.cpuSeconds / seconds,
    workerCores: worker / seconds,
  };
}

const summaryOf = (rounds) =>
  Object.fromEntries(
    Object.keys(rounds[0]).map((key) => [key, roundedSpread(rounds.map((round) => round[key]))]),
  );

async function main() {
  const begin = loadavg()[0];
  const side = await startOurs('ours', { root: ROOT, pace: PACE });
  bind(CORES.router, side.pid);
  bind(CORES.generator, side.workerPid);
  bind(CORES.generator, process.pid);
  try {
    const results = {};
    for (const [load, flags] of Object.entries(LOADS)) {
      await measure(side, flags);
      const rounds = [];
      for (let round = 0; round < Number(values.rounds); round += 1) rounds.push(await measure(side, flags));
      results[load] = summaryOf(rounds);
      console.error(`${load}: ${JSON.stringify(results[load])}`);
      const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim();
      const machine = `${cpus()[0].model}, ${cpus().length} cores`;
      const command = `node bench/load-limit.mjs --rounds ${values.rounds} --seconds ${values.seconds}`;
      const text = JSON.stringify(
        { command, commit, machine, load: [begin, loadavg()[0]].map(rounded), results },
        undefined,
        2,
      );
      if (values.out) writeFileSync(values.out, `${text}\n`);
    }
    console.table(
      Object.entries(results).map(
        ([load, { routerMs, generatorMs, times, requestsPerSecond, routerCores }]) => ({
          load,
          'requests/s': requestsPerSecond.median,
          'router, CPU ms': routerMs.median,
          'generator, CPU ms': generatorMs.median,
          'router over generator': times.median,
          'cores of the router': routerCores.median,
        }),
      ),
    );
  } finally {
    await side.stop();
  }
}

await main();
process.exit();
