import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type LoadResult, parseLoadResult } from '@kvcapsule/load/results';
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

/** Happens at each request. */
let onRequest = (): void => undefined;

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
      onRequest();
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
  onRequest = () => undefined;
});

const file = (name: string) => join(folder, name);
const COMMON = ['--lag-limit', '1h', '--warm-up', '0s'];

/** A server that has one answer to everything. */
async function listening(
  answer: Parameters<typeof createServer>[1],
): Promise<{ url: string; end: () => void }> {
  const one = createServer(answer).listen(0, '127.0.0.1');
  await once(one, 'listening');
  const end = (): void => {
    one.closeAllConnections();
    one.close();
  };
  return { url: `http://127.0.0.1:${String((one.address() as AddressInfo).port)}`, end };
}

/** Runs it as a process of its own; what it printed, and how it ended. */
async function spawned(command: string, args: readonly string[], whileRunning: (pid: number) => unknown) {
  const child = spawn(command, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = Promise.all([child.stdout.toArray(), child.stderr.toArray(), once(child, 'exit')]);
  await whileRunning(child.pid ?? 0);
  const [stdout, stderr, [code]] = (await output) as [Buffer[], Buffer[], [number | null]];
  return { stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString(), code };
}

async function untilSeen(requests: number): Promise<void> {
  while (seen.length < requests) await new Promise((ok) => setTimeout(ok, 20));
}

/** Load processes of a run: the children of its process. */
const childrenOf = async (pid: number): Promise<number[]> =>
  (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter(Boolean).map(Number);
const serve = (...args: string[]) => cli('bench', 'serve', '--url', url, ...COMMON, ...args);

/** A peer that is a script of the folder. */
const peerOf = (script: string, port: number) => [
  ...['--peer', `${process.execPath} ${file(script)}`],
  ...['--peer-url', `http://127.0.0.1:${port}`],
];

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
      return new Set(seen.map(({ body }) => body));
    };
    const first = await bodies('7');
    const again = await bodies('7');
    // how many a caller has begun when the last one is counted hangs on time
    const [fewer, more] = first.size < again.size ? [first, again] : [again, first];
    expect(fewer.size).toBeGreaterThanOrEqual(6);
    expect([...fewer].filter((body) => !more.has(body))).toEqual([]);
    const other = await bodies('8');
    expect([...other].filter((body) => !more.has(body)).length).toBeGreaterThanOrEqual(5);
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
    seen.length = 0;
    const { stdout } = await spawned(process.execPath, [join(DIST, 'main.js'), ...args], async (pid) => {
      await untilSeen(10);
      process.kill(pid, 'SIGINT');
    });
    expect(stdout).toContain('PARTIAL: ended before its plan did');
    const result = parseLoadResult('partial.json', await readFile(file('partial.json'), 'utf8'));
    expect(result.complete).toBe(false);
    expect(result.summary.counts.started).toBeGreaterThan(0);
  }, 240_000);

  it('says why a server does not answer, before it loads it', async () => {
    await expect(serve('--rate', '20', '--model', 'never', '--timeout', '1s')).rejects.toThrow('timeout');
    await expect(cli('bench', 'serve', '--url', 'http://127.0.0.1:9')).rejects.toThrow('nothing answers');
    const page = await listening((_, response) => response.end('<html>'));
    await expect(cli('bench', 'serve', '--url', page.url)).rejects.toThrow('lists no model');
    await expect(cli('bench', 'serve', '--url', page.url, '--model', 'm')).rejects.toThrow('garbage');
    page.end();
    const moved = await listening((_, response) => response.writeHead(307, { location: `${url}/v1` }).end());
    for (const model of [[], ['--model', 'small']])
      await expect(cli('bench', 'serve', '--url', moved.url, ...model)).rejects.toMatchObject({
        message: expect.stringContaining('307') as string,
        hint: expect.stringContaining('--url') as string,
      });
    moved.end();
    const busy = await listening((_, response) => response.writeHead(429, { 'retry-after': '5' }).end());
    await expect(cli('bench', 'serve', '--url', busy.url, '--model', 'm')).rejects.toMatchObject({
      hint: expect.stringContaining('try again later') as string,
    });
    busy.end();
    const rude = await listening((request) => request.socket.destroy());
    await expect(cli('bench', 'serve', '--url', rude.url)).rejects.toThrow('nothing answers');
    await expect(cli('bench', 'serve', '--url', rude.url, '--model', 'm')).rejects.toThrow('connection_lost');
    rude.end();
  });

  it('refuses a file for results that cannot be one, before it loads the server', async () => {
    seen.length = 0;
    await mkdir(file('taken.html'));
    for (const out of [folder, file('taken.json'), file('load.md'), file('nowhere/load.json')])
      await expect(serve('--requests', '1', '--out', out)).rejects.toThrow('--out');
    expect(seen).toEqual([]);
  });

  it('keeps results elsewhere when their folder is gone in the end, and has shown them', async () => {
    await mkdir(file('gone'));
    onRequest = () => {
      rmSync(file('gone'), { recursive: true, force: true });
    };
    const args = [
      ...['bench', 'serve', '--url', url],
      ...COMMON,
      ...['--requests', '5', '--concurrency', '1'],
    ];
    const out = ['--out', 'gone/load.json'];
    const command = [join(DIST, 'main.js'), ...args, ...out];
    const { stdout, stderr, code } = await spawned(process.execPath, command, () => undefined);
    expect(code).toBe(1);
    expect(stdout).toContain('requests: 5, of them 5 ok');
    expect(stderr).toContain('gone/load.json cannot be written (ENOENT)');
    const spare = /The results are in (\S+)\.\n/.exec(stderr)?.[1] ?? '';
    expect(parseLoadResult('spare', await readFile(spare, 'utf8')).summary.counts.ok).toBe(5);
    await rm(spare);
  });

  it('leaves no half of a file on a disk that is full, and keeps what stood there', async () => {
    await writeFile(file('full.json'), 'before');
    const args = `bench serve --url ${url} ${COMMON.join(' ')} --requests 300 --concurrency 4 --out full.json`;
    // files of at most 512 bytes
    const script = `ulimit -f 1; exec ${process.execPath} ${join(DIST, 'main.js')} ${args}`;
    const { stdout, stderr, code } = await spawned('sh', ['-c', script], () => undefined);
    expect(code).toBe(1);
    expect(stdout).toContain('requests: 300, of them 300 ok');
    expect(stderr).toContain('full.json cannot be written (EFBIG)');
    expect(stderr).toContain('The results stand above');
    expect(await readFile(file('full.json'), 'utf8')).toBe('before');
    expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  it('keeps what the others have measured when a load process is lost', async () => {
    seen.length = 0;
    const args = ['bench', 'serve', '--url', url, ...COMMON, '--rate', '40', '--duration', '1h'];
    const command = [join(DIST, 'main.js'), ...args, '--processes', '2', '--json'];
    const { stdout } = await spawned(process.execPath, command, async (pid) => {
      await untilSeen(20);
      const [one] = await childrenOf(pid);
      if (one !== undefined) process.kill(one, 'SIGKILL');
    });
    const { complete, partial, summary } = JSON.parse(stdout) as LoadResult;
    expect(complete).toBe(false);
    expect(partial).toEqual(['a load process ended with SIGKILL; its requests are missing']);
    expect(summary.counts.ok).toBeGreaterThan(0);
  }, 60_000);

  it('ends at once on the second Ctrl-C, its load processes too', async () => {
    seen.length = 0;
    const args = ['bench', 'serve', '--url', url, ...COMMON, '--rate', '40', '--duration', '1h'];
    let children: number[] = [];
    const { code } = await spawned(process.execPath, [join(DIST, 'main.js'), ...args], async (pid) => {
      await untilSeen(20);
      children = await childrenOf(pid);
      // a load process that stands still cannot end by itself
      for (const child of children) process.kill(child, 'SIGSTOP');
      process.kill(pid, 'SIGINT');
      await new Promise((ok) => setTimeout(ok, 200));
      process.kill(pid, 'SIGINT');
    });
    expect(code).toBe(130);
    await vi.waitFor(() => {
      for (const child of children) expect(() => process.kill(child, 0)).toThrow('ESRCH');
    }, 10_000);
  }, 60_000);

  it('says when the conversations of a file were asked again', async () => {
    const talks = ['a', 'b', 'c'].map((value) => ({ conversations: [{ from: 'human', value }] }));
    await writeFile(file('talks.json'), JSON.stringify(talks));
    const asked = (requests: string) =>
      serve('--conversations', file('talks.json'), '--requests', requests, '--concurrency', '1');
    expect((await asked('3')).stdout).not.toContain('REPEATED');
    const { stdout } = await asked('7');
    expect(stdout).toContain('REPEATED: the file has 3 conversations, and 4 of 7 were asked again');
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
    const peer = peerOf('peer.cjs', port);
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

  it('ends a peer that it has started when it is ended itself', async () => {
    const port = await freePort();
    // takes connections and answers nothing, as a model that is loading
    const script = `process.on('SIGTERM', () => undefined);
      require('node:net').createServer().listen(${port}, '127.0.0.1')`;
    await writeFile(file('still.cjs'), script);
    const peer = peerOf('still.cjs', port);
    const args = [join(DIST, 'main.js'), ...['bench', 'serve', '--url', url, '--requests', '5'], ...peer];
    const isListening = () =>
      fetch(`http://127.0.0.1:${port}`, { signal: AbortSignal.timeout(200) }).then(
        () => true,
        (error: unknown) => (error as Error).name === 'TimeoutError',
      );
    const { code } = await spawned(process.execPath, args, async (pid) => {
      await vi.waitUntil(isListening, 20_000);
      process.kill(pid, 'SIGINT');
    });
    expect(code).toBe(130);
    await vi.waitUntil(async () => !(await isListening()), 10_000);
  }, 60_000);
});
