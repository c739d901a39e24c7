import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_MODEL_DIR, ROOT } from './paths.js';

const MAIN = join(ROOT, 'apps/cli/dist/main.js');

/** Accepts and says nothing: a part waits for it. */
const silent = createServer();

afterEach(() => silent.close());

describe('serve', { timeout: 180_000 }, () => {
  it('has the part in its own process: no other one hears a Ctrl-C, or stays behind when this one is killed', async () => {
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const args = ['--redis', `redis://127.0.0.1:${String(port)}`, '--model', DEFAULT_MODEL_DIR];
    const child = spawn(process.execPath, [MAIN, 'serve', 'router', ...args], { stdio: 'ignore' });
    const exited = once(child, 'exit');
    const [first] = (await Promise.race([once(silent, 'connection'), exited])) as [unknown];
    expect(first).toBeInstanceOf(Socket);
    const command = readFileSync(`/proc/${String(child.pid)}/cmdline`, 'utf8').split('\0');
    expect(command.slice(1)).toEqual([join(ROOT, 'apps/router/dist/main.js'), ...args, '']);
    child.kill('SIGKILL');
    await exited;
  });
});
