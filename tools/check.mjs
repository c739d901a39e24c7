// Every check of the source: `npm run check`. Each one counts as passed or failed; --json FILE writes the counts and why each failed.
import { execFileSync, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const {
  values: { json, help },
} = parseArgs({ options: { json: { type: 'string' }, help: { type: 'boolean', short: 'h' } } });
if (help) {
  console.log(
    'Usage: npm run check [-- --json FILE]   (every check of the source; FILE gets the counts and why each failed)',
  );
  process.exit();
}

const root = resolve(import.meta.dirname, '..');
const bin = (name) => join(root, 'node_modules/.bin', name);
// the compiler in machine code; `typescript` is the last one with the API that ESLint reads types by, and .bin/tsc is either
const TSC = 'node_modules/typescript-7/bin/tsc';

/** @returns {string} what it printed; throws an error with the same when it fails */
function run(command, args, options = {}) {
  const done = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    env: { ...process.env, NX_DAEMON: 'false', NX_TUI: 'false', FORCE_COLOR: '0' },
    ...options,
  });
  const output = `${done.stdout ?? ''}${done.stderr ?? ''}`;
  if (done.error) throw done.error;
  if (done.status !== 0)
    throw new Error(output.trim() || `${command} ended with ${done.status ?? done.signal}`);
  return output;
}

function filesOf(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
    .sort();
}

/** The code under libs/contracts/src/gen is what the protocol generates. */
function generated() {
  const contracts = join(root, 'libs/contracts');
  const out = mkdtempSync(join(tmpdir(), 'kvc-gen-'));
  try {
    run(bin('buf'), ['generate', '-o', out], { cwd: contracts });
    const [made, kept] = [join(out, 'src/gen'), join(contracts, 'src/gen')];
    const names = [...new Set([...filesOf(made), ...filesOf(kept)])];
    const text = (dir, name) => {
      try {
        return readFileSync(join(dir, name), 'utf8');
      } catch {
        return undefined;
      }
    };
    const stale = names.filter((name) => text(made, name) !== text(kept, name));
    if (stale.length > 0) throw new Error(`run npm run generate; these differ: ${stale.join(', ')}`);
  } finally {
    rmSync(out, { recursive: true });
  }
}

/** Relative links in Markdown lead somewhere. */
function links() {
  const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
    cwd: root,
    encoding: 'utf8',
  });
  const broken = tracked
    .split('\n')
    .filter(Boolean)
    .flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
        .map(([, target]) => target)
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => !statSync(join(root, dirname(file), target), { throwIfNoEntry: false }))
        .map((target) => `${file}: ${target}`),
    );
  if (broken.length > 0) throw new Error(`links that lead nowhere:\n${broken.join('\n')}`);
}

const checks = {
  // first: ESLint's boundaries rule reads the project graph that it leaves
  'project references in step (nx sync)': () => run(bin('nx'), ['sync:check']),
  'types, tests included (tsc)': () => run(process.execPath, [join(root, TSC), '-b', '--pretty', 'false']),
  'rules and boundaries (eslint)': () => run(bin('eslint'), ['.', '--max-warnings', '0']),
  // of types too: files that import each other are one thing in two places, or two things not yet apart
  'no import circles (dependency-cruiser)': () =>
    run(bin('depcruise'), ['--config', '.dependency-cruiser.mjs', 'apps', 'libs', 'e2e', 'helm']),
  'format (prettier)': () => run(bin('prettier'), ['--check', '--log-level', 'warn', '.']),
  'unused code and dependencies (knip)': () => run(bin('knip'), ['--no-progress']),
  'generated code is current (buf)': generated,
  'routers and workers of the last release understand the protocol (buf)': () =>
    run(bin('buf'), ['breaking', '--against', 'released.txtpb'], { cwd: join(root, 'libs/contracts') }),
  'shell scripts parse (sh)': () => {
    for (const script of ['kvcapsule', ...globSync('tools/**/*.sh', { cwd: root })])
      run('sh', ['-n', script]);
    run('bash', ['-n', '.ci/run']);
  },
  // as a whole program alone the linker sees that two files mean different types by one name
  'one definition of each native type (gcc -Wodr)': () =>
    run(process.execPath, ['tools/build-native.mjs', '--odr']),
  'links in the documentation': links,
};

const counts = { passed: 0, failed: 0, failures: [] };
for (const [title, check] of Object.entries(checks)) {
  const beganMs = performance.now();
  const took = () => `${((performance.now() - beganMs) / 1000).toFixed(1)} s`;
  try {
    check();
    counts.passed += 1;
    console.log(`ok      ${title} (${took()})`);
  } catch (error) {
    counts.failed += 1;
    counts.failures.push({ title, why: error.message });
    console.log(`FAILED  ${title} (${took()})\n${error.message}\n`);
  }
}
if (json !== undefined) writeFileSync(json, JSON.stringify(counts));
process.exitCode = counts.failed === 0 ? 0 : 1;
