// `kvcapsule bench serve` beside `vllm bench serve` and guidellm on one server: the same requests in turns, the same
// number of callers. What each says of time to first token, time a token, end to end and throughput, and ours over theirs.
//
// Usage: node bench/load-witness.mjs [--vllm VENV] [--guidellm VENV] [--server simulated|engine] [--speedup 0.03]
//          [--rounds 5] [--at-once 1,4] [--requests-each 12] [--output-tokens 32] [--out FILE]
//   VENV is a Python environment with vLLM, or with guidellm and torch.
//   --server simulated  workers that keep time and compute nothing, slow enough that what else the machine does is small
//            engine     a worker that computes, with the demo model
//   --requests-each     requests of each caller
// Prompts are the same texts for all; answers are as long as asked for. A first run warms the server up and counts for
// nothing. Times are from the true send. `itl` is the mean time between two pieces of text (guidellm tells none;
// what it calls ITL is the time a token), `itlOfAllChunks` counts the chunks of the role and of the end as pieces, as vLLM does.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { generatorsOf, writePrompts } from './load/generators.mjs';
import { parseOptions } from './options.mjs';
import { startOurs } from './serving/servers.mjs';
import { roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const MODEL = 'emoji-vlm';
const MODEL_DIR = join(ROOT, 'deploy/models', MODEL);
const CLI = join(ROOT, 'apps/cli/dist/main.js');
const READY_MS = 120_000;

const { values } = parseOptions({
  options: {
    vllm: { type: 'string' },
    guidellm: { type: 'string' },
    server: { type: 'string', default: 'simulated' },
    speedup: { type: 'string', default: '0.03' },
    rounds: { type: 'string', default: '5' },
    'at-once': { type: 'string', default: '1,4' },
    'requests-each': { type: 'string', default: '12' },
    'output-tokens': { type: 'string', default: '32' },
    out: { type: 'string' },
  },
});
const GENERATORS = generatorsOf(values);
const OTHERS = Object.keys(GENERATORS).filter((name) => name !== 'ours');
const OUTPUT_TOKENS = Number(values['output-tokens']);

/** Ends a process that was started here, once. */
const end = (child) => {
  if (child.exitCode === null) child.kill('SIGINT');
};

/** The first line of a process that fits; the rest flows away. */
function lineOf(child, pattern) {
  return new Promise((ok, fail) => {
    child.once('exit', (code) => fail(new Error(`ended with ${code}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const found = pattern.exec(line);
      if (found) ok(found[1]);
    });
  });
}

/** Slow workers that keep time, and a router before them. */
async function startSimulated() {
  const start = (args, env) =>
    spawn(process.execPath, [CLI, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  const workers = start(['simulate', '--workers', '2', '--speedup', values.speedup]);
  const redis = await lineOf(workers, /KVCAPSULE_REDIS='?(redis:[^ ']*)/);
  const router = start(['serve', 'router', '--port', '0', '--model', MODEL_DIR], { KVCAPSULE_REDIS: redis });
  const url = await lineOf(router, /"url":"([^"]*)"/);
  const stop = async () => {
    end(router);
    end(workers);
  };
  return { url, stop };
}

async function untilReady({ url }) {
  for (const endMs = performance.now() + READY_MS; performance.now() < endMs; await sleep(250))
    if ((await fetch(`${url}/health/ready`).catch(() => undefined))?.ok) return;
  throw new Error(`${url} does not get ready`);
}

const startServer = () =>
  values.server === 'simulated'
    ? startSimulated()
    : startOurs({ name: 'kvcapsule', served: MODEL, model: MODEL_DIR, poolMib: 64, workerArgs: [] });

/** Of each metric: medians of all, and ours over the other's of each round. */
function summaryOf(rounds) {
  const [first] = rounds;
  const others = Object.keys(first).filter((name) => name !== 'ours');
  const known = (metric) => (name) => first[name][metric] !== undefined;
  return Object.fromEntries(
    Object.keys(first.ours).map((metric) => {
      const of = (name) => roundedSpread(rounds.map((round) => round[name][metric]));
      const ratio = (name) => roundedSpread(rounds.map((round) => round.ours[metric] / round[name][metric]));
      const told = Object.keys(first).filter(known(metric));
      return [
        metric,
        {
          ...Object.fromEntries(told.map((name) => [name, of(name)])),
          ...Object.fromEntries(
            others.filter(known(metric)).map((name) => [`ours over ${name}`, ratio(name)]),
          ),
        },
      ];
    }),
  );
}

/** Rounds in turns, each in the other order. */
async function runRounds(load) {
  const names = Object.keys(GENERATORS);
  const rounds = [];
  await GENERATORS.ours(load);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const measured = {};
    for (const name of round % 2 ? names.toReversed() : names) {
      measured[name] = await GENERATORS[name](load);
      console.error(`${load.atOnce} at once, round ${round + 1}, ${name}: ${JSON.stringify(measured[name])}`);
    }
    rounds.push(measured);
  }
  return summaryOf(rounds);
}

/** The command as it was given, folders of this machine left out. */
function commandLine() {
  const folders = { '--vllm': 'VENV', '--guidellm': 'VENV', '--out': 'FILE' };
  const words = process.argv.slice(2);
  return ['node bench/load-witness.mjs', ...words.map((word, at) => folders[words[at - 1]] ?? word)].join(
    ' ',
  );
}

const versionOf = (name) =>
  execFileSync(join(values[name], 'bin/python'), [
    '-c',
    `from importlib.metadata import version; print(version("${name}"))`,
  ])
    .toString()
    .trim();

const resultText = (results, loadAtBegin) =>
  JSON.stringify(
    {
      command: commandLine(),
      commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim(),
      versions: Object.fromEntries(OTHERS.map((name) => [name, versionOf(name)])),
      machine: `${cpus()[0].model}, ${cpus().length} cores`,
      load: [loadAtBegin, loadavg()[0]],
      server: values.server === 'simulated' ? `simulated, speedup ${values.speedup}` : 'demo model',
      results,
    },
    undefined,
    2,
  );

async function main() {
  if (OTHERS.length === 0) throw new Error('--vllm VENV or --guidellm VENV is needed');
  const begin = loadavg()[0];
  const folder = mkdtempSync(join(tmpdir(), 'kvc-witness-'));
  const server = await startServer();
  try {
    await untilReady(server);
    const results = {};
    for (const atOnce of values['at-once'].split(',').map(Number)) {
      const requests = atOnce * Number(values['requests-each']);
      writePrompts(folder, requests, OUTPUT_TOKENS);
      const load = { ...{ url: server.url, model: MODEL, modelDir: MODEL_DIR, folder }, atOnce, requests };
      results[`${requests} requests by ${atOnce}`] = await runRounds({
        ...load,
        outputTokens: OUTPUT_TOKENS,
      });
      if (values.out) writeFileSync(values.out, `${resultText(results, begin)}\n`);
    }
    console.log(resultText(results, begin));
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true });
  }
}

await main();
process.exit();
