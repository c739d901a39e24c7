import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ROOT } from './paths.js';

const run = promisify(execFile);

vi.setConfig({ testTimeout: 60_000 });

/** A checkout in which the steps of npm are due and take as long as they are let. */
let root: string;
let script: ChildProcess | undefined;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kvc-set-up-'));
  for (const folder of ['tools', 'bin']) mkdirSync(join(root, folder));
  for (const file of ['kvcapsule', 'tools/fetch-ggml.sh']) copyFileSync(join(ROOT, file), join(root, file));
  writeFileSync(join(root, 'tools/toolchain.sh'), ':\n');
  writeFileSync(join(root, 'tools/take-native.sh'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  writeFileSync(join(root, 'tools/npm-current.mjs'), 'process.exit(1);\n');
  // a child of a child, as a compiler is, and one that does not mind a signal
  writeFileSync(
    join(root, 'bin/npm'),
    '#!/bin/sh\ntrap "" HUP\n(exec sh -c "sleep 600; true") & echo $! >"$PIDS/$$"; wait\n',
  );
  chmodSync(join(root, 'bin/npm'), 0o755);
  mkdirSync(join(root, 'pids'));
});

afterEach(() => {
  script?.kill('SIGKILL');
  for (const pid of begun()) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

/** Those of npm, and of what it has begun. */
function begun(): number[] {
  const folder = join(root, 'pids');
  return readdirSync(folder).flatMap((name) => [
    Number(name),
    Number(readFileSync(join(folder, name), 'utf8')),
  ]);
}

function isAlive(pid: number): boolean {
  // one whose parent has gone may wait for somebody to take note of its end
  return existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

it.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGHUP', 129],
] as const)('%s during the set-up ends every step with all that it began', async (signal, code) => {
  const env = { ...process.env, PATH: `${root}/bin:${process.env['PATH'] ?? ''}`, PIDS: join(root, 'pids') };
  script = spawn(join(root, 'kvcapsule'), ['up'], { env, stdio: 'ignore', detached: true });
  const ended = once(script, 'exit');
  await vi.waitFor(() => expect(begun().filter((pid) => pid > 0)).toHaveLength(4), { timeout: 60_000 });
  script.kill(signal);
  expect(await ended).toEqual([code, null]);
  expect(begun().filter(isAlive)).toEqual([]);
  expect(readdirSync(join(root, '.cache'))).toEqual(['log']);
});

it.each([
  ['', 'undefined'],
  ['trap "" HUP; ', 'true'],
])(
  'run by a link from elsewhere it finds its folder, and tells Node what was ignored: %j',
  async (before, told) => {
    mkdirSync(join(root, 'apps/cli/dist'), { recursive: true });
    const main = 'console.log(process.argv.slice(1).join(" "), process.env.KVCAPSULE_NOHUP);\n';
    writeFileSync(join(root, 'apps/cli/dist/main.js'), main);
    symlinkSync(join(root, 'kvcapsule'), join(root, 'bin/kvc'));
    const env = { PATH: process.env['PATH'], CDPATH: '/' };
    const { stdout } = await run('sh', ['-c', `${before}exec bin/kvc status --json`], { cwd: root, env });
    expect(stdout).toBe(`${join(realpathSync(root), 'apps/cli/dist/main.js')} status --json ${told}\n`);
  },
);
