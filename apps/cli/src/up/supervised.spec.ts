import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { parseReadyLine } from './child.js';
import { Supervised } from './supervised.js';

const READY = `console.log(JSON.stringify({ event: 'ready', pid: process.pid }));`;

describe('Supervised', () => {
  const dir = mkdtempSync(join(tmpdir(), 'kvc-supervised-'));
  afterAll(() => {
    rmSync(dir, { recursive: true });
  });
  const said: string[] = [];

  function part(script: string): Supervised {
    const spec = {
      name: 'part',
      command: process.execPath,
      args: ['-e', script],
      logPath: join(dir, 'part.log'),
      readyTimeoutMs: 10_000,
    };
    return new Supervised(spec, (line) => said.push(line));
  }

  async function untilSaid(text: string): Promise<void> {
    while (!said.some((line) => line.includes(text))) await sleep(20);
  }

  it('starts a killed part again under a new pid, and stops it for good', async () => {
    const supervised = part(`${READY} setInterval(() => {}, 1000);`);
    const { pid } = (await supervised.start()) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await untilSaid('killed by SIGKILL');
    await untilSaid('is back');
    const back = /is back \(pid (\d+)\)/.exec(said.join('\n'))?.[1];
    expect(Number(back)).not.toBe(pid);
    await supervised.stop(1_000);
    expect(() => process.kill(Number(back), 0)).toThrow('ESRCH');
  }, 20_000);

  it('kills a part that does not heed SIGTERM', async () => {
    const supervised = part(`process.on('SIGTERM', () => {}); ${READY} setInterval(() => {}, 1000);`);
    const { pid } = (await supervised.start()) as { pid: number };
    await supervised.stop(200);
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  }, 20_000);

  it('shows the last lines of a part that ends at its start', async () => {
    const supervised = part(`console.error('the pool does not fit'); process.exitCode = 3;`);
    await expect(supervised.start()).rejects.toThrow(/exit code 3\)\n {4}the pool does not fit/);
    expect(readFileSync(join(dir, 'part.log'), 'utf8')).toContain('the pool does not fit');
  }, 20_000);
});

describe('what is shown of a part that died', () => {
  const dir = mkdtempSync(join(tmpdir(), 'kvc-supervised-'));
  afterAll(() => {
    rmSync(dir, { recursive: true });
  });

  async function lastWords(script: string): Promise<string> {
    const said: string[] = [];
    const spec = {
      ...{ name: 'part', command: process.execPath, args: ['-e', `${READY} ${script}`] },
      ...{ logPath: join(dir, 'part.log'), readyTimeoutMs: 10_000 },
    };
    const supervised = new Supervised(spec, (line) => said.push(line));
    await supervised.start();
    while (!said.some((line) => line.includes('stopped'))) await sleep(20);
    await supervised.stop(1_000);
    return said.find((line) => line.includes('stopped')) ?? '';
  }
  const access = `for (let i = 0; i < 20; i += 1) console.error('{"level":30,"msg":"request completed"}');`;

  it('are the lines that say why, not those of its requests', async () => {
    const text = await lastWords(
      `console.error('{"level":60,"msg":"no pages left"}'); ${access} setTimeout(() => process.exit(3), 50);`,
    );
    expect(text).toMatch(/exit code 3\).*What it said of it:\n {4}fatal: no pages left$/);
  }, 20_000);

  it('is where its log lies, if none says why', async () => {
    const text = await lastWords(`${access} setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50);`);
    expect(text).toMatch(/killed by SIGKILL\).* It said nothing of why: .*part\.log$/);
  }, 20_000);
});

describe('parseReadyLine', () => {
  it.each(['', 'ready', '{', '{"event":"other"}', '[1]'])('passes over %j', (line) => {
    expect(parseReadyLine(line)).toBeUndefined();
  });
});
