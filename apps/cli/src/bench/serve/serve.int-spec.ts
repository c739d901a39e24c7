import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseLoadResult } from '@kvcapsule/load/results';
import { freePort } from '@kvcapsule/testing/redis';
import type { Command } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { reportOf } from '../../report.command.js';

const DIST = join(import.meta.dirname, '../../../dist');
/** Commands as they are built: they start load processes, which are files beside them. */
const { createProgram } = (await import(pathToFileURL(join(DIST, 'program.js')).href)) as {
  createProgram: () => Promise<Command>;
};

/** Runs a command in this process; what it prints, and its exit status. */
async function cli(...args: string[]): Promise<{ stdout: string; code: unknown }> {
  let stdout = '';
  const take = (text: string | Uint8Array): boolean => {
    stdout += String(text);
    return true;
  };
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(take),
    vi.spyOn(process.stderr, 'write').mockReturnValue(true),
  ];
  try {
    await (await createProgram()).parseAsync(args, { from: 'user' });
    return { stdout, code: process.exitCode };
  } finally {
    for (const spy of spies) spy.mockRestore();
    process.exitCode = undefined;
  }
}

let server: Server;
let url: string;
let folder: string;
const seen: { readonly authorization: string | undefined; readonly body: string }[] = [];

const event = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;
const ANSWER =
  event({ choices: [{ delta: { content: 'a' } }] }) +
  event({ choices: [{ delta: { content: 'b' } }] }) +
  event({ choices: [], usage: { prompt_tokens: 12, completion_tokens: 2 } }) +
  'data: [DONE]\n\n';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-load-'));
  server = createServer((request, response) => {
    if (request.url === '/v1/models') {
      response.end(JSON.stringify({ data: [{ id: 'small' }] }));
      return;
    }
    let body = '';
    request.setEncoding('utf8').on('data', (part: string) => (body += part));
    request.on('end', () => {
      seen.push({ authorization: request.headers.authorization, body });
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (body.includes('"never"')) response.write(event({ choices: [] }));
      else response.end(ANSWER);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

afterEach(() => {
  vi.unstubAllEnvs();
});

const file = (name: string) => join(folder, name);
const COMMON = ['--lag-limit', '1h', '--warm-up', '0s'];
const serve = (...args: string[]) => cli('bench', 'serve', '--url', url, ...COMMON, ...args);

describe('kvcapsule bench serve', () => {
  it('writes results and pages that can be made again, without the key', async () => {
    vi.stubEnv('KVCAPSULE_API_KEY', 'secret');
    const load = ['--rate', '50', '--requests', '40', '--processes', '2', '--slo', 'ttft=1h'];
    const { stdout } = await serve(...load, '--out', file('load.json'));
    expect(stdout).toContain('requests: 40, of them 40 ok, 0 failed');
    const text = await readFile(file('load.json'), 'utf8');
    const result = parseLoadResult('load.json', text);
    expect(result.summary.counts).toEqual({ started: 40, ok: 40, cancelled: 0, errors: {} });
    expect(result.summary.good).toMatchObject({ hits: 40, trials: 40 });
    expect(result.summary.tokens).toMatchObject({ prompt: 480, completion: 80, parts: 80 });
    expect(result.requests.conversation.toSorted((a, b) => (a ?? 0) - (b ?? 0))).toEqual(
      Array.from({ length: 40 }, (_, at) => at),
    );
    expect(seen.every(({ authorization }) => authorization === 'Bearer secret')).toBe(true);
    const html = await readFile(file('load.html'), 'utf8');
    expect(html).toContain('<svg');
    expect(text + html + stdout).not.toContain('secret');
    expect(reportOf('load.json', text).title).toBe('Load test: open loop');
  });

  it('sends the same requests for the same seed', async () => {
    const bodies = async (seed: string) => {
      seen.length = 0;
      await serve(
        '--concurrency',
        '2',
        '--requests',
        '6',
        '--seed',
        seed,
        '--picture-share',
        '0.5',
        '--picture-size',
        '16x16',
      );
      return seen.map(({ body }) => body).sort();
    };
    const first = await bodies('7');
    expect(await bodies('7')).toEqual(first);
    expect(await bodies('8')).not.toEqual(first);
  });

  it('ends on Ctrl-C with what it has, and says so', async () => {
    const args = [
      'bench',
      'serve',
      '--url',
      url,
      ...COMMON,
      '--rate',
      '20',
      '--duration',
      '1h',
      '--out',
      'partial.json',
    ];
    const child = spawn(process.execPath, [join(DIST, 'main.js'), ...args], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    seen.length = 0;
    while (seen.length < 10) await new Promise((ok) => setTimeout(ok, 20));
    child.kill('SIGINT');
    const [output] = await Promise.all([child.stdout.toArray(), once(child, 'exit')]);
    expect(Buffer.concat(output as Buffer[]).toString()).toContain('PARTIAL');
    const result = parseLoadResult('partial.json', await readFile(file('partial.json'), 'utf8'));
    expect(result.complete).toBe(false);
    expect(result.summary.counts.started).toBeGreaterThan(0);
  }, 240_000);

  it('says why a server does not answer, before it loads it', async () => {
    await expect(serve('--rate', '20', '--model', 'never', '--timeout', '1s')).rejects.toThrow('timeout');
    await expect(cli('bench', 'serve', '--url', 'http://127.0.0.1:9')).rejects.toThrow('nothing answers');
    const page = createServer((_, response) => response.end('<html>')).listen(0, '127.0.0.1');
    await once(page, 'listening');
    const url = `http://127.0.0.1:${(page.address() as AddressInfo).port}`;
    await expect(cli('bench', 'serve', '--url', url)).rejects.toThrow('lists no model');
    page.close();
  });

  it('ends with a status of its own when the load process was late', async () => {
    const late = ['--rate', '1000', '--requests', '20', '--json', '--lag-limit', '0ms'];
    const { stdout, code } = await serve(...late);
    expect(code).toBe(3);
    const { summary } = JSON.parse(stdout) as { summary: { invalid: string[] } };
    expect(summary.invalid.length).toBeGreaterThan(0);
  });

  it('sets two runs beside each other', async () => {
    const { stdout } = await cli(
      'bench',
      'serve',
      'compare',
      file('load.json'),
      file('load.json'),
      '--out',
      file('both.json'),
    );
    expect(stdout).toContain('not told apart by any metric');
    const text = await readFile(file('both.json'), 'utf8');
    expect(reportOf('both.json', text).title).toBe('Load tests: load beside load');
  });

  it('finds the highest rate that it may try', async () => {
    const rates = ['--start', '100', '--most', '200', '--slo', 'e2e=1h', '--duration', '100ms'];
    const { stdout } = await cli(
      'bench',
      'serve',
      'sweep',
      '--url',
      url,
      ...COMMON,
      ...rates,
      '--out',
      file('sweep.json'),
    );
    expect(stdout).toContain('200 requests/s hold the SLO; no higher rate was tried');
    const text = await readFile(file('sweep.json'), 'utf8');
    expect(reportOf('sweep.json', text).title).toBe('Load sweep');
  });

  it('takes turns with a peer that it starts and ends', async () => {
    const port = await freePort();
    const script = `require('node:http').createServer((request, response) => response.end(request.url === '/v1/models'
      ? '{"data":[{"id":"peer"}]}' : ${JSON.stringify(ANSWER)})).listen(${port}, '127.0.0.1')`;
    await writeFile(file('peer.cjs'), script);
    const peer = [
      '--peer',
      `${process.execPath} ${file('peer.cjs')}`,
      '--peer-url',
      `http://127.0.0.1:${port}`,
    ];
    const { stdout } = await serve(
      '--concurrency',
      '2',
      '--requests',
      '20',
      '--rounds',
      '2',
      ...peer,
      '--json',
    );
    const comparison = JSON.parse(stdout) as {
      rounds: number;
      metrics: { name: string; a: number; b: number }[];
    };
    expect(comparison.rounds).toBe(2);
    expect(comparison.metrics.every(({ a, b }) => a > 0 && b > 0)).toBe(true);
    await expect(fetch(`http://127.0.0.1:${port}/v1/models`)).rejects.toThrow();
  });
});
