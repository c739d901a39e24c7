import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { common, LISTENS, READY_TIMEOUT_MS, type Runner, say } from './server.js';

/** Runs a binary of this machine; setpriv ties its life to the test's. */
export const runProcess: Runner = async (spec) => {
  const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-store-'));
  const file = join(folder, 'server.conf');
  writeFileSync(file, [...common(spec, folder), ...spec.lines, ''].join('\n'));
  const { program = 'redis-server', isSentinel = false } = spec;
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', program, file, ...(isSentinel ? ['--sentinel'] : [])],
    { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, ...spec.env } },
  );
  const kill = async (): Promise<void> => {
    await end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  const signal = (name: NodeJS.Signals): Promise<void> => {
    child.kill(name);
    return Promise.resolve();
  };
  try {
    await untilListening(child);
  } catch (error) {
    await kill();
    throw error;
  }
  return {
    port: spec.port,
    say: (command) => say(spec, command),
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    kill,
  };
};

async function untilListening(child: ChildProcess): Promise<void> {
  let log = '';
  const listens = new Promise<void>((resolve, reject) => {
    const why = (what: string) => new Error(`${what}: ${log.slice(-2_000)}`);
    const timer = setTimeout(() => {
      reject(why('the server does not listen'));
    }, READY_TIMEOUT_MS);
    child.once('error', reject);
    child.once('exit', () => {
      reject(why('the server has ended'));
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      if (log.length < 100_000) log += chunk.toString();
      if (!LISTENS.test(log)) return;
      clearTimeout(timer);
      resolve();
    });
  });
  await listens;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
