import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CHART } from './documents/index.js';
import { faultsOf, parse as parseManifests, render, tool, withValues } from './manifests/index.js';
import { CASES, GIVEN, MINIMAL } from './testing/cases.js';
import type { ChartValues } from './values/index.js';

const run = promisify(execFile);

describe('a packaged chart', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'kvcapsule-package-'));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  async function pack(name: string): Promise<string> {
    const said = await tool('helm', 'package', CHART, '-d', join(folder, name));
    return said.trim().replace(/^.*: /, '');
  }

  /** Names and contents of what is in an archive; times of files are those of the checkout. */
  async function contents(archive: string): Promise<string> {
    const { stdout } = await run(
      'tar',
      ['-xzf', archive, '--to-command', 'echo "$TAR_FILENAME"; sha256sum'],
      {
        maxBuffer: 1 << 24,
      },
    );
    return createHash('sha256').update(stdout).digest('hex');
  }

  it('is the same each time, and renders as its folder does', async () => {
    const [one, other] = [await pack('one'), await pack('other')];
    expect(await contents(one)).toBe(await contents(other));
    const values = CASES['everything on'] ?? {};
    const objects = await render(values, { chart: one });
    expect(objects).toEqual(await render(values));
    expect(await faultsOf(objects, GIVEN)).toEqual([]);
  });

  it('has the version of the project', () => {
    const { version } = JSON.parse(readFileSync(join(CHART, '../../package.json'), 'utf8')) as {
      version: string;
    };
    const chart = parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')) as Record<string, unknown>;
    expect([chart['version'], chart['appVersion']]).toEqual([version, version]);
  });
});

/** The notes that an installation prints. */
async function notes(values: ChartValues): Promise<string> {
  const args = ['install', 'vision', CHART, '-n', 'models', '--dry-run=client', '--hide-secret'];
  const said = await withValues(values, (file) => tool('helm', ...args, '-f', file));
  return said.slice(said.indexOf('NOTES:'));
}

describe('the notes', () => {
  it('tell the first request, and where the key is', async () => {
    const said = await notes(MINIMAL);
    expect(said).toContain('kubectl -n models port-forward service/vision-kvcapsule-router 8000:80');
    expect(said).toContain("get secret keys -o jsonpath='{.data.api-keys}'");
    expect(said).not.toContain('WARNING');
  });

  it('warn of what is open', async () => {
    const open = { ...MINIMAL, auth: { enabled: false }, networkPolicy: { enabled: false } };
    expect(await notes(open)).toMatch(/WARNING: no keys are asked for[^]*WARNING: Redis has neither/);
    expect(await notes({ ...MINIMAL, auth: { apiKeys: ['first-key'] } })).toMatch(/WARNING: auth\.apiKeys/);
  });
});

describe('helm test', () => {
  const asked: string[] = [];
  let answers: Record<string, [number, unknown]>;
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? 'no key'}`);
    const [status, body] = answers[request.url ?? ''] ?? [404, {}];
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });

  beforeEach(async () => {
    asked.length = 0;
    answers = {
      '/health/ready': [200, { status: 'ready', reasons: [] }],
      '/v1/models': [200, { data: [{ id: 'small' }, { id: 'large' }] }],
      '/v1/chat/completions': [
        200,
        { choices: [{ message: { content: 'a' } }], usage: { completion_tokens: 1 } },
      ],
    };
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterEach(() => {
    server.close();
  });

  /** Runs the script as the pod of the test does; the address alone is another. */
  async function test(values: ChartValues): Promise<{ code: number; said: string }> {
    const objects = await render(values);
    const script = objects.find(
      ({ metadata }) => metadata.name === 'vision-kvcapsule-test' && metadata.annotations,
    )?.data?.['test.mjs'];
    const { port } = server.address() as AddressInfo;
    const env = {
      ROUTER_URL: `http://127.0.0.1:${port}`,
      API_KEY: 'first-key,second-key',
      COMPLETION: String(values.tests?.completion ?? true),
    };
    const node = run(process.execPath, ['--input-type=module', '-e', script ?? 'process.exit(9)'], { env });
    return node.then(
      ({ stdout }) => ({ code: 0, said: stdout }),
      (error: { code: number; stderr: string }) => ({ code: error.code, said: error.stderr }),
    );
  }

  it('asks for readiness, the models and a completion of each, with the first key', async () => {
    expect((await test(MINIMAL)).code).toBe(0);
    expect(asked).toEqual([
      'GET /health/ready Bearer first-key',
      'GET /v1/models Bearer first-key',
      'POST /v1/chat/completions Bearer first-key',
      'POST /v1/chat/completions Bearer first-key',
    ]);
  });

  it('leaves completions out where it is told to', async () => {
    await test({ ...MINIMAL, tests: { completion: false } });
    expect(asked).toHaveLength(2);
  });

  it.each([
    ['/health/ready', 503, { status: 'unready' }],
    ['/v1/models', 401, {}],
    ['/v1/models', 200, { data: [] }],
    ['/v1/chat/completions', 503, {}],
    ['/v1/chat/completions', 200, {}],
  ])('fails when %s answers %s %j', async (path, status, body) => {
    answers[path] = [status, body];
    expect(await test(MINIMAL)).toMatchObject({ code: 1, said: expect.stringContaining('FAILED') as string });
  });

  it('is a pod that Helm knows as a test', async () => {
    const said = await withValues(MINIMAL, (file) =>
      tool('helm', 'template', 'vision', CHART, '-f', file, '--no-hooks'),
    );
    expect(parseManifests(said).filter(({ kind }) => kind === 'Pod')).toEqual([]);
  });
});
