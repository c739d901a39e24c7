// Everything that proves the project, after set-up and build: `./kvcapsule test [--full]`.
// The last line adds up all runners: "N passed, N failed".
import { AsyncLocalStorage } from 'node:async_hooks';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

import { startEngine } from './container-engine.mjs';

const root = resolve(import.meta.dirname, '..');
const out = join(root, '.cache/test');
const full = process.argv.includes('--full');
// property tests run millions of operations then
if (full) process.env.KVCAPSULE_TEST_FULL = '1';
// hundreds of routers, workers and commands are started, each of which would compile the same code: an eighth of a start
process.env.NODE_COMPILE_CACHE ??= join(root, '.cache/compiled');

/** Of the runner that runs: the seconds of cores that its processes have taken. What the cores are full of is what takes time. */
const taken = new AsyncLocalStorage();
let started = 0;

async function run(command, args, env = {}, stdio = ['ignore', 'inherit', 'inherit']) {
  const times = join(out, `times-${String((started += 1))}`);
  const script = '"$@"; code=$?; times >"$0"; exit $code';
  const options = { cwd: root, stdio, env: { ...process.env, ...env } };
  const child = spawn('sh', ['-c', script, times, command, ...args], options);
  const [code] = await once(child, 'exit');
  const of = taken.getStore();
  // the last line is of the processes: user, then system, as 12m3.4s
  const last = readFileSync(times, { encoding: 'utf8', flag: 'a+' }).trim().split('\n').at(-1) ?? '';
  for (const [, minutes, seconds] of last.matchAll(/(\d+)m([\d.]+)s/g))
    if (of) of.seconds += 60 * Number(minutes) + Number(seconds);
  rmSync(times, { force: true });
  return code ?? 1;
}

function read(file) {
  try {
    return readFileSync(join(out, file), 'utf8');
  } catch {
    return undefined;
  }
}

/** What failed, to be said once more where the run ends: who reads the end of a log alone knows it from there. */
const told = [];
function tell(what, why = '') {
  const line = stripVTControlCharacters(why).split('\n', 1)[0].slice(0, 200);
  told.push(line === '' ? what : `${what}: ${line}`);
}

/** A runner that failed without a failed test (it broke before or after them) is one failure. */
function settle({ passed, failed }, code) {
  return { passed, failed: code !== 0 && failed === 0 ? 1 : failed };
}

let engine;
/** Servers of integration and end-to-end tests are in containers where that can be: the variables that say so. */
async function serversEnv() {
  engine ??= startEngine().then((started) => {
    console.log(`Redis servers of these tests: ${started.how}`);
    return started;
  });
  return (await engine).env;
}

/** Of what runs beside others: what it says is written to a file, to be shown at its end. */
async function apart(kind, runner) {
  const log = openSync(join(out, `${kind}.log`), 'w');
  const result = await runner(['ignore', log, log]);
  closeSync(log);
  console.log(read(`${kind}.log`));
  return result;
}

async function vitest(kind, args, env = {}, stdio = undefined) {
  const file = `${kind}.json`;
  const flags = ['--reporter=default', '--reporter=json', `--outputFile.json=${join(out, file)}`];
  const program = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--config', 'vitest.all.config.mts'];
  const code = await run(process.execPath, [...program, ...flags, '--passWithNoTests', ...args], env, stdio);
  const report = JSON.parse(read(file) ?? '{"testResults":[]}');
  const counts = { passed: 0, failed: 0 };
  for (const { name, status, message, assertionResults } of report.testResults) {
    const failed = assertionResults.filter((test) => test.status === 'failed');
    counts.passed += assertionResults.filter((test) => test.status === 'passed').length;
    counts.failed += status === 'failed' && failed.length === 0 ? 1 : failed.length;
    const inFile = relative(root, name);
    for (const { fullName, failureMessages } of failed) tell(`${inFile} ${fullName}`, failureMessages[0]);
    if (status === 'failed' && failed.length === 0) tell(inFile, message);
  }
  return settle(counts, code);
}

async function ctest(buildDir) {
  const args = ['--test-dir', join(root, buildDir), '--output-on-failure', '-j', '2', '--no-tests=error'];
  const file = `${buildDir.replaceAll('/', '-')}.xml`;
  const code = await run('ctest', [...args, '--output-junit', join(out, file)]);
  const report = read(file) ?? '';
  for (const [, name] of report.matchAll(/<testcase name="([^"]*)"[^>]* status="fail"/g)) tell(name);
  const suite = /<testsuite\b[^>]*>/.exec(report)?.[0] ?? '';
  const count = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = count('failures');
  return settle({ passed: count('tests') - failed - count('skipped') - count('disabled'), failed }, code);
}

/** The rooms without ggml again, under AddressSanitizer and UndefinedBehaviorSanitizer. */
async function sanitizers() {
  const buildDir = 'native/build-sanitized';
  const configured = await run('cmake', [
    ...[
      '-S',
      'native',
      '-B',
      buildDir,
      '-G',
      'Ninja',
      '-DCMAKE_BUILD_TYPE=Release',
      '-DKVCAPSULE_SANITIZE=ON',
    ],
  ]);
  if (configured !== 0 || (await run('cmake', ['--build', buildDir])) !== 0) return { passed: 0, failed: 1 };
  return ctest(buildDir);
}

/**
 * From the start to the end beside all else, behind whose back it takes what that leaves of the cores. Still it comes
 * on there, so that it does not end long after all else: at niceness 15 type checks took eleven minutes.
 */
async function checks() {
  const report = ['--json', join(out, 'check.json')];
  const args = ['-n', '5', process.execPath, join(root, 'tools/check.mjs'), ...report];
  const code = await apart('check', (stdio) => run('nice', args, {}, stdio));
  const { failures = [], ...counts } = JSON.parse(read('check.json') ?? '{"passed":0,"failed":0}');
  for (const { title, why } of failures) tell(title, why);
  return settle(counts, code);
}

/** Whether a release is the same bytes out of two folders with nothing built before: compiles the engine twice. */
async function release() {
  const code = await run(process.execPath, [join(root, 'tools/release.mjs'), '--check']);
  if (code !== 0) tell('tools/release.mjs --check');
  return settle({ passed: code === 0 ? 1 : 0, failed: 0 }, code);
}

/** Whether the unit tests can fail; takes hours. */
async function mutation() {
  const code = await run(process.execPath, [
    join(root, 'bench/mutation.mjs'),
    '--out',
    join(out, 'mutation.md'),
  ]);
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1 };
}

/** One file at a time: real processes share the cores. */
const processes = async (kind, args, stdio) =>
  vitest(kind, ['--no-file-parallelism', ...args], await serversEnv(), stdio);

/** What waits for most of its time: for what is killed, silent or stopped to be noticed. */
const UNDER_FAULTS = ['chaos/*', 'breaker.*', 'failover.*', 'store-away.*'].map((name) => `src/${name}`);
const END_TO_END = ['--project', 'int:e2e'];

const underFaults = () =>
  apart('faults', (stdio) =>
    processes('faults', [...END_TO_END, ...UNDER_FAULTS.map((name) => name.replace('*', ''))], stdio),
  );
const endToEnd = () =>
  processes('e2e', [...END_TO_END, ...UNDER_FAULTS.flatMap((name) => ['--exclude', name])]);
const integration = () =>
  apart('int', (stdio) => processes('int', ['--project', 'int:libs/*', '--project', 'int:apps/*'], stdio));
const chart = () => apart('chart', (stdio) => processes('chart', ['--project', 'int:helm'], stdio));

/**
 * Many unit tests wait for timers of theirs more than they compute, and vitest takes one file at a time where there
 * are two cores: 282 s so, 186 s with three at a time on a machine that did other work beside it.
 */
const unit = () => vitest('unit', ['--project', 'unit:*', '--maxWorkers', '3']);

/**
 * What tests would fetch when they first need it. No test's limit has to hold a slow mirror so, and no two of them
 * fetch the same at one time. What cannot be had is said here; a test that needs it tries once more, and fails.
 */
const FETCHED = [
  ['sh', 'tools/fetch-helm.sh'],
  ['sh', 'tools/fetch-compose.sh'],
  ['sh', 'tools/fetch-valkey.sh'],
  ['sh', 'tools/fetch-openai-python.sh'],
  [process.execPath, 'tools/prometheus.mjs'],
  [process.execPath, 'tools/bare-root.mjs'],
];
async function fetchAll() {
  const log = openSync(join(out, 'fetch.log'), 'w');
  for (const [command, script] of FETCHED) {
    const code = await run(command, [join(root, script)], {}, ['ignore', log, log]);
    if (code !== 0) console.log(`${script} cannot fetch what tests need: see .cache/test/fetch.log`);
  }
  closeSync(log);
  await serversEnv();
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const total = { passed: 0, failed: 0 };
const lines = [];

async function runOne([name, runner]) {
  const beganMs = performance.now();
  console.log(`\n== ${name}`);
  const cores = { seconds: 0 };
  const { passed, failed } = await taken.run(cores, runner);
  total.passed += passed;
  total.failed += failed;
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(0);
  lines.push(
    `${name.padEnd(12)} ${String(passed).padStart(5)} passed ${String(failed).padStart(3)} failed  ${seconds.padStart(4)} s, of cores ${cores.seconds.toFixed(0).padStart(4)} s`,
  );
}

async function runLane(runs) {
  for (const run of runs) await runOne(run);
}

const inProcess = [
  ['native', () => ctest('native/build')],
  ...(full ? [['sanitizers', sanitizers]] : []),
  ['unit', unit],
];
/** Beside each other; what is in a lane comes one after the other, so that all lanes end at about one time. */
const lanes = [
  [
    ['under faults', underFaults],
    ['chart', chart],
  ],
  [['integration', integration]],
  [['end to end', endToEnd]],
];
try {
  const checking = runOne(['checks', checks]);
  await Promise.all([fetchAll(), runLane(inProcess)]);
  await Promise.all([checking, ...lanes.map(runLane)]);
  if (full) await runOne(['release', release]);
  if (full) await runOne(['mutation', mutation]);
} finally {
  await (await engine)?.stop();
}
if (told.length > 0) console.log(`\nFailed:\n  ${told.join('\n  ')}`);
console.log(`\n${lines.join('\n')}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
