import { once } from 'node:events';
import { METHODS } from 'node:http';
import { connect, type Socket } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { ErrorBody } from '@kvcapsule/contracts/openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { echo, endless } from '../../testing/fake-worker.js';
import { Harness, logs, until } from '../../testing/harness.js';

let router: Harness;
/** With deadlines that a test can wait for. */
let hasty: Harness;
beforeAll(async () => {
  router = await new Harness().start();
  hasty = await new Harness().start({ headTimeoutMs: 400, bodyTimeoutMs: 600 });
});
afterAll(() => Promise.all([router.stop(), hasty.stop()]));
beforeEach(() => {
  logs.length = 0;
});

const CHAT = { model: 'demo', messages: [{ role: 'user', content: 'abc' }] };
const HEAD = 'host: x\r\ncontent-type: application/json\r\n';

interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

function parse(text: string): Answered {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [first = '', ...lines] = head.split('\r\n');
  const headers = new Headers(lines.map((line) => line.split(/: ?/, 2) as [string, string]));
  return { status: Number(first.split(' ')[1]), headers, body: rest.join('\r\n\r\n') };
}

function open(to = router): Socket {
  const socket = connect({ port: Number(new URL(to.url).port), host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  return socket;
}

/** Sends bytes as they are; resolves to all that comes back until the server closes. */
async function exchange(
  bytes: string,
  after: (socket: Socket) => void = () => undefined,
  to = router,
): Promise<string> {
  const socket = open(to);
  let got = '';
  socket.on('data', (data) => (got += data.toString('latin1')));
  socket.write(bytes, () => after(socket));
  await new Promise((resolve) => socket.once('end', resolve).once('close', resolve));
  socket.destroy();
  return got;
}

function expectError({ status, headers, body }: Answered, wanted: { status: number; code: string }): void {
  expect([status, body.length > 0 && (JSON.parse(body) as ErrorBody).error.code]).toEqual([
    wanted.status,
    wanted.code,
  ]);
  expect(() => ErrorBody.parse(JSON.parse(body))).not.toThrow();
  expect(headers.get('x-request-id')).toMatch(/^[\w.-]+$/);
  expect(headers.get('content-type')).toContain('application/json');
}

const post = (headers: string, body = '') => `POST /v1/chat/completions HTTP/1.1\r\n${headers}\r\n${body}`;
const countOf = async (labels: string) => {
  const text = await (await fetch(`${router.url}/metrics`)).text();
  return Number(new RegExp(`kvcapsule_router_requests_total\\{${labels}\\} (\\d+)`).exec(text)?.[1] ?? 0);
};

describe('what is not a request', () => {
  it.each([
    ['rubbish', 'rubbish\r\n\r\n', 400, 'invalid_request'],
    ['a method in lower case', 'get / HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'invalid_request'],
    ['a header of 17 KiB', post(`${HEAD}cookie: ${'a'.repeat(17_000)}\r\n`), 431, 'headers_too_large'],
    ['two lengths', post(`${HEAD}content-length: 3\r\ncontent-length: 4\r\n`, '{}'), 400, 'invalid_request'],
    ['a length that is no number', post(`${HEAD}content-length: x\r\n`), 400, 'invalid_request'],
    [
      'length and chunks',
      post(`${HEAD}content-length: 2\r\ntransfer-encoding: chunked\r\n`),
      400,
      'invalid_request',
    ],
    [
      'a chunk without its size',
      post(`${HEAD}transfer-encoding: chunked\r\n`, 'zz\r\n{}\r\n'),
      400,
      'invalid_request',
    ],
    ['a header without a name', `GET / HTTP/1.1\r\n: x\r\n\r\n`, 400, 'invalid_request'],
    ['no host', 'GET / HTTP/1.1\r\nconnection: close\r\n\r\n', 400, 'invalid_request'],
    [
      'two hosts',
      'GET /health/live HTTP/1.1\r\nhost: x\r\nHost: y\r\nconnection: close\r\n\r\n',
      400,
      'invalid_request',
    ],
    [
      'two keys',
      'GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\nconnection: close\r\n\r\n',
      400,
      'invalid_request',
    ],
    [
      'two types',
      `GET /health/live HTTP/1.1\r\n${HEAD}content-type: text/plain\r\nconnection: close\r\n\r\n`,
      400,
      'invalid_request',
    ],
    ['an expectation', `${post(`${HEAD}expect: tea\r\n`)}`, 417, 'expectation_failed'],
    ['a target that is no path', 'OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n', 404, 'not_found'],
    ['a tunnel', 'CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n', 404, 'not_found'],
  ])('%s is answered in the shape of an error', async (_name, bytes, status, code) => {
    expectError(parse(await exchange(bytes)), { status, code });
  });

  it('a body that ends early by a closed sending side is answered', async () => {
    const before = await countOf('model="unknown",status="499",code="aborted"');
    const text = await exchange(post(`${HEAD}content-length: 100\r\n`, '{"model"'), (socket) => socket.end());
    expectError(parse(text), { status: 400, code: 'invalid_request' });
    expect(await countOf('model="unknown",status="499",code="aborted"')).toBe(before + 1);
  });

  it.each([
    ['one request', 1],
    ['two requests', 2],
  ])('behind %s waits for their answers', async (_name, requests) => {
    router.worker.script = echo;
    const json = JSON.stringify(CHAT);
    const one = post(`${HEAD}content-length: ${json.length}\r\n`, json);
    const text = await exchange(`${one.repeat(requests)}rubbish\r\n\r\n`);
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));
    expect(statuses).toEqual([...new Array<number>(requests).fill(200), 400]);
    expectError(parse(text.slice(text.lastIndexOf('HTTP/1.1'))), { status: 400, code: 'invalid_request' });
  });

  it('behind a request whose client then goes holds nothing up', async () => {
    router.worker.script = endless;
    const json = JSON.stringify(CHAT);
    const socket = open();
    socket.write(post(`${HEAD}content-length: ${json.length}\r\n`, `${json}rubbish\r\n\r\n`));
    await until(() => router.worker.running === 1);
    socket.resetAndDestroy();
    await until(() => router.worker.running === 0);
  });

  it('HTTP/1.0 is answered, without a host', async () => {
    expect(parse(await exchange('GET /health/live HTTP/1.0\r\n\r\n')).status).toBe(200);
  });
});

describe('a client that goes away within its body', () => {
  it.each([
    ['by FIN', (socket: Socket) => socket.destroy()],
    ['by RST', (socket: Socket) => socket.resetAndDestroy()],
  ])('%s is counted as aborted and leaves no error', async (_name, leave) => {
    const before = await countOf('model="unknown",status="499",code="aborted"');
    const socket = open();
    socket.write(post(`${HEAD}expect: 100-continue\r\ncontent-length: 100\r\n`));
    // The head has been read, so that what is left is the body.
    await once(socket, 'data');
    socket.write('{"model"');
    leave(socket);
    await until(() => logs.some((line) => line.includes('request broken off')));
    const line = logs.find((text) => text.includes('request broken off')) ?? '';
    expect(JSON.parse(line)).toMatchObject({ status: 499, code: 'ABORTED' });
    expect(await countOf('model="unknown",status="499",code="aborted"')).toBe(before + 1);
    expect(logs.filter((line) => (JSON.parse(line) as { level: number }).level > 30)).toEqual([]);
  });
});

describe('a client that asks before it sends its body', () => {
  const ask = (headers: string) => post(`${HEAD}expect: 100-continue\r\n${headers}`);

  it('is let go on once the body is wanted', async () => {
    router.worker.script = echo;
    const json = JSON.stringify(CHAT);
    const socket = open();
    socket.write(ask(`content-length: ${json.length}\r\nconnection: close\r\n`));
    const [first] = (await once(socket, 'data')) as [Buffer];
    expect(first.toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    socket.write(json);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 200/);
    socket.destroy();
  });

  it.each([
    ['is too large', ask('content-length: 1000000\r\n'), 413, 'request_too_large'],
    [
      'is encoded in an unknown way',
      ask('content-length: 9\r\ncontent-encoding: x\r\n'),
      415,
      'unsupported_media_type',
    ],
    ['no route takes', ask('content-length: 9\r\n').replace('/v1/chat', '/v1/none'), 404, 'not_found'],
  ])('is refused at once where it %s', async (_name, bytes, status, code) => {
    expectError(parse(await exchange(bytes)), { status, code });
  });
});

describe('a client that sends its whole body before it reads', () => {
  it.each(['close', 'keep-alive'])('reads why it was refused, with connection: %s', async (connection) => {
    for (const [line, status] of [
      ['POST /v1/chat/completions', 413],
      ['POST /v1/none', 404],
      ['QUERY /v1/models', 405],
    ] as const) {
      const length = 20_000_000;
      const socket = open();
      const failed = once(socket, 'error').then(([error]) => String(error));
      socket.pause();
      socket.write(
        `${line} HTTP/1.1\r\n${HEAD}connection: ${connection}\r\ncontent-length: ${length}\r\n\r\n`,
      );
      const sent = new Promise<string>((resolve) =>
        socket.write(Buffer.alloc(length, ' '), () => resolve('sent')),
      );
      expect(await Promise.race([sent, failed])).toBe('sent');
      const answer = once(socket, 'data') as Promise<[Buffer]>;
      socket.resume();
      expect(parse((await answer)[0].toString()).status).toBe(status);
      socket.destroy();
    }
  });
});

describe('a client that does not go on', () => {
  it('with its head is told so in time', async () => {
    const text = await exchange('POST / HTTP/1.1\r\nhost: x\r\n', () => undefined, hasty);
    expectError(parse(text), { status: 408, code: 'request_timeout' });
  });

  it.each([true, false])('with its body is told so in time, trickling: %s', async (isTrickling) => {
    const trickle = (socket: Socket) => {
      const timer = setInterval(() => socket.write(' '), 50);
      socket.once('close', () => clearInterval(timer)).once('end', () => clearInterval(timer));
      if (!isTrickling) clearInterval(timer);
    };
    const text = await exchange(post(`${HEAD}content-length: 1000\r\n`, '{'), trickle, hasty);
    expectError(parse(text), { status: 408, code: 'request_timeout' });
  });
});

describe('an encoded body', () => {
  const json = Buffer.from(JSON.stringify(CHAT));
  const send = (encoding: string, body: Buffer) =>
    router.post(undefined, {
      headers: { 'content-type': 'application/json', 'content-encoding': encoding },
      body: body as Buffer<ArrayBuffer>,
    });

  it.each([
    ['gzip', gzipSync(json)],
    ['x-gzip', gzipSync(json)],
    ['GZIP', gzipSync(json)],
    ['deflate', deflateSync(json)],
    ['br', brotliCompressSync(json)],
    ['zstd', zstdCompressSync(json)],
    ['identity', json],
  ])('of encoding %s is decoded', async (encoding, body) => {
    router.worker.script = echo;
    expect((await send(encoding, body)).status).toBe(200);
  });

  it.each(['compress', 'gzip, gzip', 'x"y'])('of encoding %s is refused', async (encoding) => {
    const response = await send(encoding, json);
    const { error } = ErrorBody.parse(await response.json());
    expect([response.status, error.code]).toEqual([415, 'unsupported_media_type']);
    expect(error.message).toContain(encoding === 'compress' ? 'compress' : 'This content encoding');
  });

  it('that is not what it says is refused', async () => {
    for (const body of [json, gzipSync(json).subarray(0, 30)])
      expect(ErrorBody.parse(await (await send('gzip', body)).json()).error.code).toBe('invalid_request');
  });

  it('that grows beyond the limit is refused', async () => {
    const response = await send('gzip', gzipSync(Buffer.alloc(50_000_000, ' ')));
    const { error } = ErrorBody.parse(await response.json());
    expect([response.status, error.code]).toEqual([413, 'request_too_large']);
    expect(error.message).toContain('100000 bytes');
  });

  it('that is small enough, but grows too much, is refused for its growth', async () => {
    const roomy = await new Harness().start({ maxBodyBytes: 64 * 1024 * 1024 });
    const response = await roomy.post(undefined, {
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: gzipSync(Buffer.alloc(50_000_000, ' ')),
    });
    const { error } = ErrorBody.parse(await response.json());
    await roomy.stop();
    expect([response.status, error.code]).toEqual([413, 'request_too_large']);
    expect(error.message).toMatch(/more than 200 times its size/);
    expect(error.message).not.toContain('MiB');
  });
});

it('refuses text that is not UTF-8 instead of mending it', async () => {
  const body = Buffer.from(JSON.stringify(CHAT));
  body[body.indexOf('abc')] = 0xff;
  const response = await router.post(undefined, {
    headers: { 'content-type': 'application/json' },
    body: body,
  });
  expect(ErrorBody.parse(await response.json()).error).toMatchObject({ code: 'invalid_json' });
});

describe('a route', () => {
  const routes: [string, string][] = [
    ['/v1/chat/completions', 'POST'],
    ['/v1/models', 'GET, HEAD'],
    ['/v1/models/demo', 'GET, HEAD'],
    ['/health/live', 'GET, HEAD'],
    ['/health/ready', 'GET, HEAD'],
    ['/metrics', 'GET, HEAD'],
    ['/', 'GET, HEAD'],
  ];

  it.each(routes)('%s refuses every other method, naming those it takes', async (path, allow) => {
    const others = METHODS.filter((method) => !allow.split(', ').includes(method) && method !== 'CONNECT');
    for (const method of others) {
      const length = method === 'POST' ? 'content-length: 0\r\n' : '';
      const text = await exchange(
        `${method} ${path} HTTP/1.1\r\nhost: x\r\n${length}connection: close\r\n\r\n`,
      );
      const answered = parse(text);
      expect([method, answered.status, answered.headers.get('allow')]).toEqual([method, 405, allow]);
      if (method !== 'HEAD') expectError(answered, { status: 405, code: 'method_not_allowed' });
    }
  });

  it('leaves a line with the id of each request, whoever refuses it', async () => {
    for (const method of ['QUERY', 'DELETE', 'GET'])
      await exchange(
        `${method} /v1/models HTTP/1.1\r\nhost: x\r\nx-request-id: mine-${method}\r\nconnection: close\r\n\r\n`,
      );
    for (const target of ['/v1/models/%zz', '*'])
      await exchange(
        `GET ${target} HTTP/1.1\r\nhost: x\r\nx-request-id: mine-target\r\nconnection: close\r\n\r\n`,
      );
    const named = () => logs.filter((line) => /"requestId":"mine-(QUERY|DELETE|GET|target)"/.test(line));
    await until(() => named().length === 5);
    expect(named().map((line) => (JSON.parse(line) as { status: number }).status)).toEqual([
      405, 405, 200, 400, 404,
    ]);
  });

  it('that is not there is refused by every method', async () => {
    for (const method of METHODS.filter((name) => name !== 'HEAD')) {
      const text = await exchange(`${method} /v1/none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      expectError(parse(text), { status: 404, code: 'not_found' });
    }
  });

  it('is refused before its body is read, whatever that holds', async () => {
    for (const [line, status, code] of [
      ['PUT /v1/models', 405, 'method_not_allowed'],
      ['DELETE /v1/chat/completions', 405, 'method_not_allowed'],
      ['POST /v1/none', 404, 'not_found'],
    ] as const)
      for (const type of ['application/json', 'text/plain']) {
        const head = `${line} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: 50\r\n`;
        expectError(parse(await exchange(`${head}connection: close\r\n\r\n{`)), { status, code });
      }
  });

  it('with a file behind each path refuses paths of none by what is missing, and methods by what it takes', async () => {
    for (const path of ['/docs/none.js', '/docs/..%2fpackage.json', '/docs//', '/docs/../metrics']) {
      const text = await exchange(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      expectError(parse(text), { status: 404, code: 'not_found' });
      const other = await exchange(`DELETE ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      expect(parse(other).headers.get('allow')).toBe('GET, HEAD');
    }
    expect(logs.filter((line) => line.includes('"level":50'))).toEqual([]);
  });

  it('is found with a slash behind it', async () => {
    expect((await fetch(`${router.url}/v1/models/`)).status).toBe(200);
    expect((await fetch(`${router.url}/v1/models/`, { method: 'DELETE' })).headers.get('allow')).toBe(
      'GET, HEAD',
    );
  });
});

describe('a connection without a request', () => {
  it('is read before it is closed for that, since this process may have stood still', async () => {
    const own = await new Harness().start();
    const server = own.app.getHttpServer();
    const get = 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n';
    Object.assign(server, { keepAliveTimeout: 100, keepAliveTimeoutBuffer: 0 });
    const socket = open(own);
    try {
      for (let requests = 0; requests < 3; requests += 1) {
        socket.write(get);
        // no turn of the event loop between the request and the end of the time
        if (requests > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
        const [answer] = (await once(socket, 'data')) as [Buffer];
        expect(parse(answer.toString()).status).toBe(200);
      }
      await once(socket, 'end');
    } finally {
      socket.destroy();
      await own.stop();
    }
  });

  it('is kept for longer than load balancers keep theirs', async () => {
    const { headers } = await fetch(`${router.url}/health/live`);
    expect(headers.get('keep-alive')).toBe('timeout=75');
  });
});
