import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseLoadResult } from '@kvcapsule/load/results';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportOf } from '../../report.command.js';

const run = promisify(execFile);
const CLI = join(import.meta.dirname, '../../../dist/main.js');

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

const serve = (...args: string[]) =>
  run(
    process.execPath,
    [CLI, 'bench', 'serve', '--url', url, '--lag-limit', '1h', '--warm-up', '0s', ...args],
    {
      cwd: folder,
      env: { ...process.env, KVCAPSULE_API_KEY: 'secret' },
    },
  );

describe('kvcapsule bench serve', () => {
  it('writes results and pages that can be made again, without the key', async () => {
    const { stdout } = await serve(
      '--rate',
      '50',
      '--requests',
      '40',
      '--processes',
      '2',
      '--out',
      'load.json',
      '--slo',
      'ttft=1h',
    );
    expect(stdout).toContain('requests: 40, of them 40 ok, 0 failed');
    const text = await readFile(join(folder, 'load.json'), 'utf8');
    const result = parseLoadResult('load.json', text);
    expect(result.summary.counts).toEqual({ started: 40, ok: 40, cancelled: 0, errors: {} });
    expect(result.summary.good).toMatchObject({ hits: 40, trials: 40 });
    expect(result.summary.tokens).toMatchObject({ prompt: 480, completion: 80, parts: 80 });
    expect(result.requests.conversation.toSorted((a, b) => (a ?? 0) - (b ?? 0))).toEqual(
      Array.from({ length: 40 }, (_, at) => at),
    );
    expect(seen.every(({ authorization }) => authorization === 'Bearer secret')).toBe(true);
    const html = await readFile(join(folder, 'load.html'), 'utf8');
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
    const child = spawn(
      process.execPath,
      [
        CLI,
        'bench',
        'serve',
        '--url',
        url,
        '--rate',
        '20',
        '--duration',
        '1h',
        '--warm-up',
        '0s',
        '--lag-limit',
        '1h',
        '--out',
        'partial.json',
      ],
      { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    seen.length = 0;
    while (seen.length < 10) await new Promise((ok) => setTimeout(ok, 20));
    child.kill('SIGINT');
    const [output] = await Promise.all([child.stdout.toArray(), once(child, 'exit')]);
    expect(Buffer.concat(output as Buffer[]).toString()).toContain('PARTIAL');
    const result = parseLoadResult('partial.json', await readFile(join(folder, 'partial.json'), 'utf8'));
    expect(result.complete).toBe(false);
    expect(result.summary.counts.started).toBeGreaterThan(5);
  });

  it('cuts off what does not end, and calls a run without an answer invalid', async () => {
    const failing = serve(
      '--rate',
      '20',
      '--requests',
      '4',
      '--drain',
      '200ms',
      '--model',
      'never',
      '--timeout',
      '1s',
    );
    await expect(failing).rejects.toMatchObject({ stderr: expect.stringContaining('timeout') as string });
    const invalid = serve(
      '--rate',
      '1000',
      '--requests',
      '20',
      '--most-open',
      '1',
      '--json',
      '--lag-limit',
      '0ms',
    );
    const { stdout, code } = (await invalid.catch((error: unknown) => error)) as {
      stdout: string;
      code: number;
    };
    expect(code).toBe(3);
    const { summary } = JSON.parse(stdout) as { summary: { invalid: string[] } };
    expect(summary.invalid.length).toBeGreaterThan(0);
  });

  it('says what to do when nothing answers', async () => {
    const dead = run(process.execPath, [CLI, 'bench', 'serve', '--url', 'http://127.0.0.1:9']);
    await expect(dead).rejects.toMatchObject({ stderr: expect.stringContaining('--url') as string });
  });
});
