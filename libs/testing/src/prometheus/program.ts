import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { freePort } from '../redis/free-port.js';

const ROOT = resolve(import.meta.dirname, '../../../..');
/** Ends a hang; a busy machine takes long to load a large program. */
const READY_TIMEOUT_MS = 120_000;

/** Its life is the test's. */
const TIED = ['setpriv', '--pdeathsig', 'KILL'];

/** Debian's programs look for their templates in `/usr/share` alone: unpacked ones see their own there, nobody else does. */
function withShare(share: string): string[] {
  if (existsSync('/usr/share/prometheus')) return [];
  const mount = `mount -t overlay overlay -o 'lowerdir=${share}:/usr/share' /usr/share && exec "$0" "$@"`;
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return ['unshare', ...asRoot, '--mount', 'sh', '-c', mount];
}

/** Folder of `prometheus`, `promtool`, `prometheus-alertmanager` and `amtool`; unpacked when they are first asked for. */
export function programs(): string {
  return execFileSync(process.execPath, [join(ROOT, 'tools/prometheus.mjs')], { encoding: 'utf8' });
}

export interface Program {
  readonly url: string;
  readonly folder: string;
  stop(): Promise<void>;
}

/**
 * Runs one of them in a folder of its own until it says that it is ready.
 * `args` are given the folder and the address to listen at (`127.0.0.1:PORT`).
 */
export async function runProgram(
  name: string,
  args: (folder: string, address: string) => readonly string[],
): Promise<Program> {
  const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-prometheus-'));
  const address = `127.0.0.1:${String(await freePort())}`;
  const [command = '', ...rest] = [...withShare(resolve(programs(), '../share')), ...TIED];
  const child = spawn(command, [...rest, join(programs(), name), ...args(folder, address)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const log: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => log.push(chunk.toString()));
  const stop = async (): Promise<void> => {
    await end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await untilReady(child, `http://${address}/-/ready`);
  } catch (error) {
    await stop();
    throw new Error(`${name} does not start: ${log.join('').slice(-2_000)}`, { cause: error });
  }
  return { url: `http://${address}`, folder, stop };
}

async function untilReady(child: ChildProcess, url: string): Promise<void> {
  const endMs = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < endMs) {
    if (child.exitCode !== null) throw new Error(`ended with ${String(child.exitCode)}`);
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok === true) return;
    await sleep(100);
  }
  throw new Error('is not ready in time');
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
