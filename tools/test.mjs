// Everything that proves the project, after set-up and build: `./kvcapsule test [--full]`.
// The last line adds up all runners: "N passed, N failed".
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { startEngine } from './container-engine.mjs';

const root = resolve(import.meta.dirname, '..');
const out = join(root, '.cache/test');
const full = process.argv.includes('--full');
// property tests run millions of operations then
if (full) process.env.KVCAPSULE_TEST_FULL = '1';

async function run(command, args, env = {}, stdio = ['ignore', 'inherit', 'inherit']) {
  const child = spawn(command, args, { cwd: root, stdio, env: { ...process.env, ...env } });
  const [code] = await once(child, 'exit');
  return code ?? 1;
}

function read(file) {
  try {
    return readFileSync(join(out, file), 'utf8');
  } catch {
    return undefined;
  }
}

/** A runner that failed without a failed test (it broke before or after them) is one failure. */
function settle({ passed, failed }, code) {
  return { passed, failed: code !== 0 && failed === 0 ? 1 : failed };
}

/** Integration and end-to-end tests have their servers in containers where that can be. */
async function withEngine(run) {
  const engine = await startEngine();
  console.log(`Redis servers of these tests: ${engine.how}`);
  try {
    return await run(engine.env);
  } finally {
    await engine.stop();
  }
}

async function vitest(kind, args, env = {}) {
  const file = `${kind}.json`;
  const flags = ['--reporter=default', '--reporter=json', `--outputFile.json=${join(out, file)}`];
  const program = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--config', 'vitest.all.config.mts'];
  const code = await run(process.execPath, [...program, ...flags, '--passWithNoTests', ...args], env);
  const report = JSON.parse(read(file) ?? '{"testResults":[]}');
  const counts = { passed: 0, failed: 0 };
  for (const { status, assertionResults } of report.testResults) {
    const failed = assertionResults.filter((test) => test.status === 'failed').length;
    counts.passed += assertionResults.filter((test) => test.status === 'passed').length;
    counts.failed += status === 'failed' && failed === 0 ? 1 : failed;
  }
  return settle(counts, code);
}

async function ctest(buildDir) {
  const args = ['--test-dir', join(root, buildDir), '--output-on-failure', '-j', '2', '--no-tests=error'];
  const file = `${buildDir.replaceAll('/', '-')}.xml`;
  const code = await run('ctest', [...args, '--output-junit', join(out, file)]);
  const suite = /<testsuite\b[^>]*>/.exec(read(file) ?? '')?.[0] ?? '';
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

/** Out of the way of whatever runs beside it: what it says is written to a file, to be shown at its end. */
async function checks() {
  const log = openSync(join(out, 'check.log'), 'w');
  const args = [
    '-n',
    '15',
    process.execPath,
    join(root, 'tools/check.mjs'),
    '--json',
    join(out, 'check.json'),
  ];
  const code = await run('nice', args, {}, ['ignore', log, log]);
  closeSync(log);
  console.log(read('check.log'));
  return settle(JSON.parse(read('check.json') ?? '{"passed":0,"failed":0}'), code);
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

const INTEGRATION = ['--project', 'int:libs/*', '--project', 'int:apps/*'];
const END_TO_END = ['--project', 'int:e2e'];

const endToEnd = () => withEngine((env) => vitest('e2e', [...END_TO_END, '--no-file-parallelism'], env));

/** One after the other; those of one line beside each other. */
const stages = [
  [['native', () => ctest('native/build')]],
  ...(full ? [[['sanitizers', sanitizers]]] : []),
  [['unit', () => vitest('unit', ['--project', 'unit:*'])]],
  // real processes share the cores: one file at a time
  [['integration', () => withEngine((env) => vitest('int', [...INTEGRATION, '--no-file-parallelism'], env))]],
  // end-to-end tests wait for most of their time
  [
    ['end to end', endToEnd],
    ['checks', checks],
  ],
  ...(full ? [[['mutation', mutation]]] : []),
];

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const total = { passed: 0, failed: 0 };
const lines = [];

async function runOne([name, runner]) {
  const beganMs = performance.now();
  console.log(`\n== ${name}`);
  const { passed, failed } = await runner();
  total.passed += passed;
  total.failed += failed;
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(0);
  lines.push(
    `${name.padEnd(12)} ${String(passed).padStart(5)} passed ${String(failed).padStart(3)} failed  ${seconds} s`,
  );
}

for (const stage of stages) await Promise.all(stage.map(runOne));
console.log(`\n${lines.join('\n')}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
