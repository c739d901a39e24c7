import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, picture } from './harness.js';

interface Refusal {
  readonly name: string;
  readonly body: unknown;
  readonly status: number;
  readonly code: string;
  readonly param?: string;
}

const chat = (message: unknown, more: object = {}): object => ({
  model: 'emoji-vlm',
  messages: [message],
  ...more,
});
const image = (bytes: Buffer, mime = 'image/png'): string =>
  `data:${mime};base64,${bytes.toString('base64')}`;
const PART = 'messages.0.content.0';
const SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>';
const golden = Buffer.from(picture('a').slice('data:image/png;base64,'.length), 'base64');

/** A PNG header that claims 60,000 x 60,000 pixels over a few bytes of data. */
function bomb(): Buffer {
  const bytes = Buffer.from(golden);
  bytes.writeUInt32BE(60_000, 16);
  bytes.writeUInt32BE(60_000, 20);
  return bytes;
}

const refusals: readonly Refusal[] = [
  { name: 'broken JSON', body: '{"model": "emoji-vlm", ', status: 400, code: 'invalid_json' },
  {
    name: 'a wrong type',
    body: chat(ask('hi'), { temperature: 'hot' }),
    status: 400,
    code: 'invalid_request',
    param: 'temperature',
  },
  {
    name: 'an unknown model',
    body: chat(ask('hi'), { model: 'nobody' }),
    status: 404,
    code: 'model_not_found',
    param: 'model',
  },
  {
    name: 'an unknown role',
    body: chat({ role: 'wizard', content: 'hi' }),
    status: 400,
    code: 'invalid_request',
    param: 'messages.0.role',
  },
  {
    name: 'no message',
    body: { model: 'emoji-vlm', messages: [] },
    status: 400,
    code: 'invalid_request',
    param: 'messages',
  },
  {
    name: 'an empty picture',
    body: chat(ask('hi', 'data:image/png;base64,')),
    status: 400,
    code: 'image_invalid',
    param: PART,
  },
  {
    name: 'a truncated PNG',
    body: chat(ask('hi', image(golden.subarray(0, 5000)))),
    status: 400,
    code: 'image_invalid',
    param: PART,
  },
  {
    name: 'an SVG',
    body: chat(ask('hi', image(Buffer.from(SVG), 'image/svg+xml'))),
    status: 400,
    code: 'image_unsupported',
    param: PART,
  },
  {
    name: 'a decompression bomb',
    body: chat(ask('hi', image(bomb()))),
    status: 400,
    code: 'image_too_large',
    param: PART,
  },
  {
    name: 'a picture of 50 MB',
    body: chat(ask('hi', image(Buffer.alloc(50_000_000, 1)))),
    status: 400,
    code: 'image_too_large',
    param: PART,
  },
  {
    name: 'a body larger than 64 MiB',
    body: chat(ask('hi', image(Buffer.alloc(60_000_000, 1)))),
    status: 413,
    code: 'request_too_large',
  },
  {
    name: 'a file URL',
    body: chat(ask('hi', 'file:///etc/passwd')),
    status: 400,
    code: 'image_url_invalid',
    param: PART,
  },
  ...[
    'http://127.0.0.1:1/',
    'http://localhost:1/',
    'http://10.0.0.1/',
    'http://169.254.169.254/',
    'http://[::1]:1/',
    'http://2130706433:1/',
    'http://[::ffff:127.0.0.1]:1/',
    'http://0.0.0.0:1/',
  ].map((url) => ({
    name: url,
    body: chat(ask('hi', url)),
    status: 400,
    code: 'image_url_blocked',
    param: PART,
  })),
  {
    name: 'a prompt longer than the context',
    body: chat(ask('bus '.repeat(9_000))),
    status: 400,
    code: 'context_length_exceeded',
    param: 'messages',
  },
  {
    name: 'more pages than exist',
    body: chat(ask('bus '.repeat(4_000))),
    status: 400,
    code: 'kv_capacity_exceeded',
    param: 'messages',
  },
  {
    name: 'tools',
    body: chat(ask('hi'), { tools: [{ type: 'function', function: { name: 'f' } }] }),
    status: 400,
    code: 'unsupported_parameter',
    param: 'tools',
  },
  { name: 'n', body: chat(ask('hi'), { n: 0 }), status: 400, code: 'invalid_request', param: 'n' },
];

describe('bad input', () => {
  let cluster: Cluster, redirecting: Server;
  beforeAll(async () => {
    redirecting = createServer((request, response) => {
      if (request.url === '/picture') response.end(golden);
      else response.writeHead(302, { location: 'http://127.0.0.1:1/secret' }).end();
    }).listen(0, '127.0.0.1');
    await once(redirecting, 'listening');
    const allowed = `127.0.0.1:${String((redirecting.address() as AddressInfo).port)}`;
    // 8 MiB: fewer pages than the longest context needs
    cluster = await Cluster.start({
      workerArgs: ['--pool-mib', '8'],
      routerArgs: ['--allow-image-host', allowed],
    });
  }, 120_000);
  afterAll(async () => {
    redirecting.close();
    await cluster.stop();
  });

  const cases = refusals.flatMap((refusal) => [false, true].map((stream) => ({ ...refusal, stream })));
  it.each(cases)('refuses $name (stream: $stream)', async ({ body, status, code, param, stream }) => {
    const sent = typeof body === 'string' ? body : { ...(body as object), stream };
    const response = await cluster.chat(sent, { signal: AbortSignal.timeout(20_000) });
    const answer = (await response.json()) as {
      error: { code: string; param: string | null; message: string; type: string };
    };
    expect([response.status, answer.error.code]).toEqual([status, code]);
    if (param !== undefined) expect(answer.error.param).toContain(param);
    expect(response.headers.get('content-type')).toContain('application/json');
    expect(answer.error.message.length).toBeGreaterThan(10);
  });

  it('refuses a redirect from an allowed host into a private address, and fetches from the allowed one', async () => {
    const host = `http://127.0.0.1:${String((redirecting.address() as AddressInfo).port)}`;
    const blocked = await cluster.chat(chat(ask('What is at A1?', `${host}/away`)));
    expect([blocked.status, await blocked.text()]).toEqual([
      400,
      expect.stringContaining('image_url_blocked'),
    ]);
    const good = await cluster.chat(chat(ask('What is at A1?', `${host}/picture`), { temperature: 0 }));
    expect(await good.text()).toContain('"content":"bus."');
  });

  it('leaks nothing', async () => {
    expect(await cluster.heldPages(0)).toBe(0);
    expect(await cluster.routerMetric('kvcapsule_router_requests_running')).toBe(0);
    const answer = await cluster.chat(chat(ask('What is at A1?', picture('a')), { temperature: 0 }));
    expect(await answer.text()).toContain('"content":"bus."');
  });
});
