import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { programs } from '@kvcapsule/testing/prometheus';
import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_MODEL_DIR, ROOT } from '../paths.js';

const MAIN = join(ROOT, 'apps/cli/dist/main.js');

/** Process ids whose parent is `pid`. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return (
          / \S (\d+) /.exec(readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\)/, ''))?.[1] ===
          String(pid)
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

class Up {
  output = '';
  readonly process: ChildProcess;

  constructor(...args: readonly string[]) {
    this.process = spawn(process.execPath, [MAIN, 'up', '--port', '0', '--pool-mib', '32', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream?.on('data', (data: Buffer) => (this.output += data.toString()));
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  async shows(text: RegExp): Promise<string> {
    while (!text.test(this.output)) {
      if (this.process.exitCode !== null) throw new Error(`up ended: ${this.output}`);
      await sleep(50);
    }
    return text.exec(this.output)?.[1] ?? '';
  }

  child(part: string): number {
    const pid = childrenOf(this.pid).find((candidate) => commandOf(candidate).includes(part));
    if (pid === undefined) throw new Error(`no ${part} among the children`);
    return pid;
  }

  /** The lines of the first screen that a person pastes: each command whole, with its here-document. */
  async commands(): Promise<string[]> {
    await this.shows(/Stop: Ctrl-C/);
    const asks = /^ {2}(\S.* ask .*)$/m.exec(this.output)?.[1];
    const curl = /^curl [\s\S]*?^END$/m.exec(this.output)?.[0];
    if (asks === undefined || curl === undefined) throw new Error(`no commands: ${this.output}`);
    return [asks, curl];
  }

  async ends(): Promise<number | null> {
    if (this.process.exitCode === null) await once(this.process, 'exit');
    return this.process.exitCode;
  }
}

async function api<T>(prometheus: string, route: string): Promise<{ data: T }> {
  return (await (await fetch(`${prometheus}/api/v1/${route}`)).json()) as { data: T };
}

/** Jobs of the targets that answer. */
async function jobsUp(prometheus: string): Promise<string[]> {
  const { data } = await api<{ result: { metric: { job: string } }[] }>(
    prometheus,
    'query?query=sum by (job) (up) > 0',
  );
  return data.result.map(({ metric }) => metric.job).sort();
}

describe('up', () => {
  let up: Up | undefined;
  afterEach(async () => {
    up?.process.kill('SIGTERM');
    await up?.ends();
  });

  it('serves, brings back what is killed, and leaves nothing behind', async () => {
    up = new Up();
    const url = await up.shows(/ at (http:\S+)\/v1/);
    await up.shows(/Stop: Ctrl-C/);
    const ask = [MAIN, 'ask', join(ROOT, 'samples/bird-microscope.png'), 'What is at D2?', '--url', url];
    expect(execFileSync(process.execPath, ask, { encoding: 'utf8' })).toMatch(
      /^microscope\.\n\n\d+ prompt.* tokens · first token \d+ ms · \d+ tokens\/s · KV \d+ KiB → \d+ KiB/,
    );
    const ledger = [MAIN, 'inspect', 'ledger', '--url', url];
    // what is said of a Redis elsewhere is not of this one
    const env = { ...process.env, KVCAPSULE_REDIS_PASSWORD: 'of-another' };
    expect(execFileSync(process.execPath, ledger, { encoding: 'utf8', env })).toMatch(/worker-0 .* right\n/);
    process.kill(up.child('apps/worker'), 'SIGKILL');
    await up.shows(/worker-0 stopped \(killed by SIGKILL\)/);
    await up.shows(/worker-0 is back/);
    process.kill(up.child('redis-server'), 'SIGKILL');
    await up.shows(/redis is back/);
    const pids = childrenOf(up.pid);
    expect(pids).toHaveLength(3);
    const askedMs = performance.now();
    up.process.kill('SIGTERM');
    expect(await up.ends()).toBe(0);
    expect(performance.now() - askedMs).toBeLessThan(10_000);
    expect(pids.map(commandOf).filter((command) => command !== '')).toEqual([]);
    const late = spawnSync(process.execPath, ledger, { encoding: 'utf8' });
    expect(late.stderr).toContain('No `up` with a Redis of its own listens at');
    expect(late.status).toBe(1);
  }, 90_000);

  it('shows commands that work as they are pasted, whatever the model is called and by whom', async () => {
    process.env['KVCAPSULE_SERVED_MODEL_NAME'] = "the demo's model";
    try {
      up = new Up();
    } finally {
      delete process.env['KVCAPSULE_SERVED_MODEL_NAME'];
    }
    const commands = await up.commands();
    expect(up.output).toContain("serves the demo's model at");
    for (const command of commands) {
      const answer = execFileSync('sh', ['-c', command], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      expect(answer.replaceAll(/[^a-z.]/g, '')).toMatch(/micro.*scope/);
    }
    const logs = resolve(await up.shows(/Logs: (\S+)/));
    up.process.kill('SIGTERM');
    await up.ends();
    expect(readdirSync(logs).sort()).toEqual(['router.log', 'worker-0.log']);
    const second = new Up('--pool-mib', '16');
    await second.shows(/Stop: Ctrl-C/);
    second.process.kill('SIGKILL');
    await second.ends();
    expect(existsSync(join(logs, 'worker-0.log'))).toBe(true);
  }, 120_000);

  it('serves several models, each by a worker of its own', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'kvc-models-'));
    try {
      const copy = join(dir, 'another-vlm');
      cpSync(DEFAULT_MODEL_DIR, copy, { recursive: true });
      up = new Up('--model', DEFAULT_MODEL_DIR, '--model', copy);
      const url = await up.shows(/serves emoji-vlm, another-vlm at (http:\S+)\/v1/);
      expect(commandOf(up.child('worker-0'))).toContain(`--model ${DEFAULT_MODEL_DIR} `);
      expect(commandOf(up.child('worker-1'))).toContain(`--model ${copy} `);
      const ask = [MAIN, 'ask', join(ROOT, 'samples/bird-microscope.png'), 'What is at D2?', '--url', url];
      for (const model of ['another-vlm', 'emoji-vlm']) {
        const answer = execFileSync(process.execPath, [...ask, '--model', model], { encoding: 'utf8' });
        expect(answer).toMatch(/^microscope\.\n/);
      }
    } finally {
      rmSync(dir, { recursive: true });
    }
  }, 90_000);

  it('goes on when nobody reads what it prints', async () => {
    up = new Up();
    const url = await up.shows(/ at (http:\S+)\/v1/);
    up.process.stdout?.destroy();
    up.process.stderr?.destroy();
    process.kill(up.child('apps/worker'), 'SIGKILL');
    await sleep(1_500);
    expect(up.process.exitCode).toBeNull();
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
  }, 90_000);

  it('is watched by a Prometheus of its own on request', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = `${programs()}:${String(path)}`;
    try {
      up = new Up('--observe');
    } finally {
      process.env['PATH'] = path;
    }
    const prometheus = await up.shows(/Prometheus asks all of them at (http:\/\/127\.0\.0\.1:\d+)/);
    const jobs = ['kvcapsule-router', 'kvcapsule-worker'];
    while ((await jobsUp(prometheus)).join() !== jobs.join()) await sleep(200);
    const { data } = await api<{ groups: { rules: { health: string }[] }[] }>(prometheus, 'rules');
    const rules = data.groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(20);
    expect(rules.filter(({ health }) => health === 'err')).toEqual([]);
    process.kill(up.child('prometheus --config'), 'SIGKILL');
    await up.shows(/prometheus is back/);
    while ((await jobsUp(prometheus).catch(() => [])).join() !== jobs.join()) await sleep(200);
    const logs = resolve(await up.shows(/Logs: (\S+)/));
    const pid = up.child('prometheus --config');
    up.process.kill('SIGTERM');
    expect(await up.ends()).toBe(0);
    expect(commandOf(pid)).toBe('');
    expect(readdirSync(logs).sort()).toEqual(['prometheus.log', 'router.log', 'worker-0.log']);
  }, 180_000);

  it('ends while its Redis starts, and starts nothing any more', async () => {
    const slow = mkdtempSync(join(tmpdir(), 'kvc-slow-'));
    const path = process.env['PATH'];
    const redis = execFileSync('sh', ['-c', 'command -v redis-server'], { encoding: 'utf8' }).trim();
    writeFileSync(join(slow, 'redis-server'), `#!/bin/sh\nsleep 1\nexec ${redis} "$@"\n`, { mode: 0o755 });
    process.env['PATH'] = `${slow}:${String(path)}`;
    try {
      up = new Up();
    } finally {
      process.env['PATH'] = path;
    }
    while (!childrenOf(up.pid).some((pid) => commandOf(pid).includes('redis-server'))) await sleep(20);
    up.process.kill('SIGTERM');
    // what comes at once is the same wish
    up.process.kill('SIGHUP');
    expect(await up.ends()).toBe(0);
    expect(up.output).toMatch(/stopping .*\n.* stopped\n$/);
    const all = join(ROOT, '.kvcapsule/log');
    const own = readdirSync(all).find((name) => name.endsWith(`-${String(up?.pid)}`));
    // a part that is started writes its log there
    expect(readdirSync(join(all, String(own)))).toEqual([]);
    rmSync(slow, { recursive: true });
  }, 180_000);

  it('says why it cannot start, and ends', async () => {
    up = new Up('--model', join(ROOT, 'samples'));
    expect(await up.ends()).toBe(1);
    expect(up.output).toContain('it holds no config.json');
    up = new Up('--model', DEFAULT_MODEL_DIR, '--model', DEFAULT_MODEL_DIR);
    expect(await up.ends()).toBe(1);
    expect(up.output).toContain('two models have the same folder name');
    up = new Up('--host', '0.0.0.0');
    expect(await up.ends()).toBe(1);
    expect(up.output).toContain('--no-auth');
    expect(childrenOf(up.pid)).toEqual([]);
  }, 180_000);
});
