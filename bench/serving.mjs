// The whole service beside other servers: the same model, two threads each, the same requests in turns. Each side is its
// usual processes (here router, worker and Redis; vLLM's API server and engine; llama.cpp's one); CPU is that of the
// whole tree. Peers stand still (SIGSTOP) while it is another's turn, so that threads that spin disturb nobody.
//
// Usage: node bench/serving.mjs [--baseline DIR] [--vllm VENV] [--llama-server BIN --gguf DIR] [--model DIR]
//          [--rounds 5] [--warm-up round|short] [--scenes 24] [--picture WxH] [--answer-tokens 32] [--at-once 8]
//          [--streams 16] [--picture-streams 16] [--stream-tokens 200] [--pool-mib 256] [--worker-args "ARGS"]
//          [--context 2048] [--vllm-dtype bfloat16] [--max-cpu-isa avx2|avx512|amx] [--out FILE]
//   DIR of --baseline is a checkout of ours that has been built, its e2e folder too; VENV a Python environment with vLLM
//   on its CPU backend; BIN llama.cpp's llama-server, DIR of --gguf what bench/llama.cpp/to_gguf.py has written. At
//   least one of them is needed; scenes are drawn anew each round.
//   new, one at a time    a third of the scenes, which nobody has seen, one question each
//   new, 8 at once        the others, eight requests at once
//   known, …              the pictures of the round again, another question
//   16 text streams       of 200 tokens each; --streams takes a list, as 1,4,16
//   16 picture streams    the same about the round's pictures; --picture-streams takes a list, --streams by default
// --max-cpu-isa limits ours, and oneDNN and torch in vLLM; llama.cpp has what it was built for. --context is the tokens
// of a slot of llama.cpp's. At real size (tools/oracle/make_geometry.py) answers mean nothing and are as long as asked
// for; a picture takes seconds there: --warm-up short --scenes 5 --at-once 4 --streams 1,4,16.
// The side that begins changes with every round; a pause lets threads come to rest. What is not the answer asked for
// (status, finish reason, number of tokens) fails its load for its side and is told.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { MODEL_DIR, ROOT } from '../e2e/dist/harness.js';
import { parseOptions } from './options.mjs';
import { drive } from './serving/client.mjs';
import { loadsOf, scenesOf, sizeOf, warmUpLoads } from './serving/loads.mjs';
import { cpuSecondsOf, peakResidentMib } from './serving/process-tree.mjs';
import { measured, rowsOf, tableOf } from './serving/report.mjs';
import { isaLimits, startLlamaServer, startOurs, startVllm } from './serving/servers.mjs';

const { values } = parseOptions({
  options: {
    baseline: { type: 'string' },
    vllm: { type: 'string' },
    'llama-server': { type: 'string' },
    gguf: { type: 'string' },
    model: { type: 'string', default: MODEL_DIR },
    rounds: { type: 'string', default: '5' },
    'warm-up': { type: 'string', default: 'round' },
    scenes: { type: 'string', default: '24' },
    picture: { type: 'string' },
    'answer-tokens': { type: 'string', default: '32' },
    'at-once': { type: 'string', default: '8' },
    streams: { type: 'string', default: '16' },
    'picture-streams': { type: 'string' },
    'stream-tokens': { type: 'string', default: '200' },
    'pool-mib': { type: 'string', default: '256' },
    'worker-args': { type: 'string', default: '' },
    context: { type: 'string', default: '2048' },
    'vllm-dtype': { type: 'string', default: 'bfloat16' },
    'max-cpu-isa': { type: 'string' },
    out: { type: 'string' },
  },
});
const numbers = (list) => list.split(',').map(Number);
const OURS = 'kvcapsule';
/** Threads of the side before spin on for a while after a request. */
const PAUSE_MS = 1_500;
const ROUNDS = Number(values.rounds);
const SCENES = Number(values.scenes);
const MAX_CPU_ISA = values['max-cpu-isa'];
const REAL_SIZE = values.model !== MODEL_DIR;
const PLAN = {
  served: basename(values.model),
  answerTokens: Number(values['answer-tokens']),
  exactAnswers: REAL_SIZE,
  atOnce: Number(values['at-once']),
  streams: numbers(values.streams),
  pictureStreams: numbers(values['picture-streams'] ?? values.streams),
  streamTokens: Number(values['stream-tokens']),
};

function check() {
  if (!values.vllm && !values.baseline && !values['llama-server'])
    throw new Error('--vllm VENV, --llama-server BIN or --baseline DIR is needed');
  if (values['llama-server'] && !values.gguf) throw new Error('--llama-server needs --gguf DIR');
  if (MAX_CPU_ISA !== undefined && !isaLimits.includes(MAX_CPU_ISA))
    throw new Error(`--max-cpu-isa takes ${isaLimits.join(', ')}`);
  if (!['round', 'short'].includes(values['warm-up'])) throw new Error('--warm-up takes round or short');
  if (SCENES < 2) throw new Error('--scenes: one new alone and one beside others is the least');
}

const SIZE = sizeOf(values.picture);

/** The sides in the order in which they are told; a peer that has started stands still at once. */
async function startSides(sides) {
  const poolMib = Number(values['pool-mib']);
  const common = { model: values.model, served: PLAN.served, poolMib, maxCpuIsa: MAX_CPU_ISA };
  const workerArgs = values['worker-args'].split(' ').filter(Boolean);
  const starts = [
    () => startOurs({ ...common, name: OURS, workerArgs }),
    values.baseline && (() => startOurs({ ...common, name: 'baseline', root: values.baseline, workerArgs })),
    values.vllm && (() => startVllm({ ...common, venv: values.vllm, dtype: values['vllm-dtype'] })),
    values['llama-server'] &&
      (() =>
        startLlamaServer({
          ...{ binary: values['llama-server'], folder: values.gguf, served: PLAN.served },
          contextTokens: Number(values.context),
        })),
  ];
  for (const start of starts.filter(Boolean)) {
    const side = await start().catch((error) => {
      // the others are compared all the same
      if (sides.length === 0) throw error;
      console.error(`left out: ${error.message}`);
    });
    if (side === undefined) continue;
    sides.push(side);
    side.holdStill();
    console.error(`${side.name}: up after ${side.startSeconds} s`);
  }
  if (sides.length < 2) throw new Error('no peer has started');
}

/** Drives a load through one side while the others stand still. */
async function measure(side, load) {
  await side.resume();
  await sleep(PAUSE_MS);
  try {
    const before = cpuSecondsOf(side.pids());
    const began = performance.now();
    const answers = await drive(side.url, load.bodies, load.atOnce);
    const wallSeconds = (performance.now() - began) / 1000;
    return measured(answers, load, wallSeconds, cpuSecondsOf(side.pids()) - before);
  } catch (error) {
    return { failed: error.message };
  } finally {
    side.holdStill();
  }
}

const turned = (sides, by) => [...sides.slice(by % sides.length), ...sides.slice(0, by % sides.length)];

function say(round, load, byName) {
  const sides = Object.entries(byName).map(([name, { failed, wall, first, rate }]) =>
    failed === undefined
      ? `${name} ${wall.toFixed(2)} s, first ${first.toFixed(2)} s${rate ? `, ${rate.toFixed(1)} tokens/s` : ''}`
      : `${name} failed: ${failed}`,
  );
  console.error(`round ${round}, ${load.name}: ${sides.join('; ')}`);
}

async function driveAll(sides, loads, round, took) {
  for (const load of loads) {
    const byName = {};
    for (const side of turned(sides, round)) byName[side.name] = await measure(side, load);
    took(load, byName);
  }
}

async function warmUp(sides) {
  const whole = values['warm-up'] === 'round';
  const loads = whole ? loadsOf(await scenesOf(0, SCENES, SIZE), 0, PLAN) : await warmUpLoads(PLAN, SIZE);
  await driveAll(sides, loads, 0, (load, byName) => {
    for (const [name, { failed }] of Object.entries(byName))
      if (failed !== undefined) console.error(`warming up ${name}: ${failed}`);
  });
}

const commitOf = (root) =>
  execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).toString().trim();

/** Which of the instruction sets that matter to products the processor has. */
function instructionSets() {
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].split(' ') ?? [];
  return flags.filter((flag) => /^(avx2|avx_vnni|avx512f|avx512_(vnni|bf16|fp16)|amx_.*)$/.test(flag));
}

/** The command as it was given, folders of this machine left out. */
function commandLine() {
  const folders = { baseline: 'DIR', vllm: 'VENV', 'llama-server': 'BIN', gguf: 'DIR', out: 'FILE' };
  const given = parseArgs({ args: process.argv.slice(2), strict: false, tokens: true }).tokens;
  const told = given
    .filter(({ kind }) => kind === 'option')
    .map(({ name }) => {
      const value = folders[name] ?? (name === 'model' ? basename(values.model) : values[name]);
      return `--${name} ${/\s/.test(value) ? JSON.stringify(value) : value}`;
    });
  return ['node bench/serving.mjs', ...told].join(' ');
}

function resultOf(sides, results) {
  const names = sides.map(({ name }) => name);
  return {
    ...{ command: commandLine(), commit: commitOf(ROOT) },
    ...(values.baseline ? { baseline: commitOf(values.baseline) } : {}),
    versions: Object.fromEntries(sides.flatMap(({ name, version }) => (version ? [[name, version]] : []))),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    instruction_sets: { processor: instructionSets(), limit: MAX_CPU_ISA ?? 'none' },
    load: loadavg().map((value) => Number(value.toPrecision(3))),
    start_s: Object.fromEntries(sides.map(({ name, startSeconds }) => [name, startSeconds])),
    peak_resident_mib: Object.fromEntries(sides.map(({ name, pids }) => [name, peakResidentMib(pids())])),
    rows: rowsOf(results, names),
  };
}

async function run(sides) {
  await startSides(sides);
  await warmUp(sides);
  const results = {};
  for (let round = 1; round <= ROUNDS; round += 1) {
    const loads = loadsOf(await scenesOf(round, SCENES, SIZE), round, PLAN);
    await driveAll(sides, loads, round, (load, byName) => {
      say(round, load, byName);
      (results[load.name] ??= { streams: load.streams, rounds: [] }).rounds.push(byName);
      // what has been measured stays when the run is cut short
      if (values.out)
        writeFileSync(values.out, `${JSON.stringify(resultOf(sides, results), undefined, 2)}\n`);
    });
  }
  const result = resultOf(sides, results);
  console.log(
    tableOf(
      result.rows,
      sides.map(({ name }) => name),
      result.peak_resident_mib,
    ),
  );
}

check();
const sides = [];
const stopAll = () => Promise.all(sides.splice(0).map((side) => side.stop()));
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => void stopAll().finally(() => process.exit(1)));
try {
  await run(sides);
} finally {
  await stopAll();
}
