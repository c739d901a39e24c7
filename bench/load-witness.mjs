// `kvcapsule bench serve` beside `vllm bench serve` on one server: the same requests in turns, the same number of
// callers. What each says of time to first token, time a token, end to end and throughput, and ours over theirs.
//
// Usage: node bench/load-witness.mjs --vllm VENV [--server simulated|engine] [--speedup 0.03]
//          [--rounds 3] [--requests 24] [--at-once 4] [--output-tokens 32] [--out FILE]
//   VENV is a Python environment with vLLM.
//   --server simulated  workers that keep time and compute nothing, slow enough that what else the machine does is small
//            engine     a worker that computes, with the demo model
// Prompts are the same texts for both, as ShareGPT's JSON; answers are as long as asked for. A first run warms the server
// up and counts for nothing. Times are from the true send, as vLLM measures them. vLLM takes a chunk without text for a
// piece of the answer, too, so its mean time between pieces is that of a token.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { textOf } from '@kvcapsule/load/workload';
import { parseOptions } from './options.mjs';
import { startOurs } from './serving/servers.mjs';
import { roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const MODEL = 'emoji-vlm';
const MODEL_DIR = join(ROOT, 'deploy/models', MODEL);
const CLI = join(ROOT, 'apps/cli/dist/main.js');
const PROMPT_WORDS = 40;
const READY_MS = 120_000;
const run = promisify(execFile);

const { values } = parseOptions({
  options: {
    vllm: { type: 'string' },
    server: { type: 'string', default: 'simulated' },
    speedup: { type: 'string', default: '0.03' },
    rounds: { type: 'string', default: '3' },
    requests: { type: 'string', default: '24' },
    'at-once': { type: 'string', default: '4' },
    'output-tokens': { type: 'string', default: '32' },
    out: { type: 'string' },
  },
});
const REQUESTS = values.requests;
const AT_ONCE = values['at-once'];
const OUTPUT_TOKENS = values['output-tokens'];

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

function writePrompts(path) {
  const talks = Array.from({ length: Number(REQUESTS) }, (_, at) => ({
    id: String(at),
    conversations: [
      { from: 'human', value: textOf(7, at, PROMPT_WORDS) },
      { from: 'gpt', value: textOf(8, at, PROMPT_WORDS) },
    ],
  }));
  writeFileSync(path, JSON.stringify(talks));
}

/** Milliseconds, and tokens a second. */
async function byOurs({ url, folder }) {
  const { stdout } = await run(process.execPath, [
    ...[
      CLI,
      'bench',
      'serve',
      '--url',
      url,
      '--model',
      MODEL,
      '--conversations',
      join(folder, 'prompts.json'),
    ],
    ...['--concurrency', AT_ONCE, '--requests', REQUESTS, '--output-tokens', OUTPUT_TOKENS, '--ignore-eos'],
    ...['--warm-up', '0s', '--lag-limit', '1h', '--json'],
  ]);
  const { latency, fromSend, perSecond, counts } = JSON.parse(stdout).summary;
  if (counts.ok !== Number(REQUESTS)) throw new Error(`ours: ${JSON.stringify(counts)}`);
  return {
    ttft: fromSend.ttft.p50,
    tpot: latency.tpot.p50,
    itlMean: latency.itl.mean,
    e2e: fromSend.e2e.p50,
    tokensPerSecond: perSecond.outputTokens,
  };
}

async function byVllm({ url, folder }) {
  await run(
    join(values.vllm, 'bin/vllm'),
    [
      ...[
        'bench',
        'serve',
        '--backend',
        'openai-chat',
        '--base-url',
        url,
        '--endpoint',
        '/v1/chat/completions',
      ],
      ...['--model', MODEL, '--tokenizer', MODEL_DIR, '--dataset-name', 'sharegpt', '--disable-shuffle'],
      ...[
        '--dataset-path',
        join(folder, 'prompts.json'),
        '--sharegpt-output-len',
        OUTPUT_TOKENS,
        '--ignore-eos',
      ],
      ...[
        '--num-prompts',
        REQUESTS,
        '--max-concurrency',
        AT_ONCE,
        '--percentile-metrics',
        'ttft,tpot,itl,e2el',
      ],
      ...['--save-result', '--result-dir', folder, '--result-filename', 'vllm.json'],
    ],
    { env: { ...process.env, HF_HUB_OFFLINE: '1', DO_NOT_TRACK: '1' }, maxBuffer: 1 << 26 },
  );
  const result = JSON.parse(readFileSync(join(folder, 'vllm.json'), 'utf8'));
  if (result.completed !== Number(REQUESTS))
    throw new Error(`vllm: ${result.completed} of ${REQUESTS} answered`);
  return {
    ttft: result.median_ttft_ms,
    tpot: result.median_tpot_ms,
    itlMean: result.mean_itl_ms,
    e2e: result.median_e2el_ms,
    tokensPerSecond: result.output_throughput,
  };
}

if (!values.vllm) throw new Error('--vllm VENV is needed');
const GENERATORS = { ours: byOurs, vllm: byVllm };

/** Of each metric: medians of all, and ours over the other's of each round. */
function summaryOf(rounds) {
  const [first] = rounds;
  const others = Object.keys(first).filter((name) => name !== 'ours');
  return Object.fromEntries(
    Object.keys(first.ours).map((metric) => {
      const of = (name) => roundedSpread(rounds.map((round) => round[name][metric]));
      const ratio = (name) => roundedSpread(rounds.map((round) => round.ours[metric] / round[name][metric]));
      return [
        metric,
        {
          ...Object.fromEntries(Object.keys(first).map((name) => [name, of(name)])),
          ...Object.fromEntries(others.map((name) => [`ours over ${name}`, ratio(name)])),
        },
      ];
    }),
  );
}

async function runRounds(server) {
  const names = Object.keys(GENERATORS);
  const rounds = [];
  await byOurs(server);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const measured = {};
    for (const name of round % 2 ? names.toReversed() : names) {
      measured[name] = await GENERATORS[name](server);
      console.error(`round ${round + 1}, ${name}: ${JSON.stringify(measured[name])}`);
    }
    rounds.push(measured);
  }
  return rounds;
}

/** The command as it was given, folders of this machine left out. */
function commandLine() {
  const folders = { '--vllm': 'VENV', '--out': 'FILE' };
  const words = process.argv.slice(2);
  return ['node bench/load-witness.mjs', ...words.map((word, at) => folders[words[at - 1]] ?? word)].join(
    ' ',
  );
}

const versionOf = (venv, name) =>
  execFileSync(join(venv, 'bin/python'), [
    '-c',
    `from importlib.metadata import version; print(version("${name}"))`,
  ])
    .toString()
    .trim();

async function main() {
  const begin = loadavg()[0];
  const folder = mkdtempSync(join(tmpdir(), 'kvc-witness-'));
  writePrompts(join(folder, 'prompts.json'));
  const server = await startServer();
  try {
    await untilReady(server);
    const rounds = await runRounds({ ...server, folder });
    const result = {
      command: commandLine(),
      commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim(),
      versions: { vllm: versionOf(values.vllm, 'vllm') },
      machine: `${cpus()[0].model}, ${cpus().length} cores`,
      load: [begin, loadavg()[0]],
      server: values.server === 'simulated' ? `simulated, speedup ${values.speedup}` : 'demo model',
      loadOfEach: `${REQUESTS} requests by ${AT_ONCE} callers, ${OUTPUT_TOKENS} tokens each`,
      metrics: summaryOf(rounds),
    };
    const text = `${JSON.stringify(result, undefined, 2)}\n`;
    if (values.out) writeFileSync(values.out, text);
    console.log(text);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true });
  }
}

await main();
process.exit();
