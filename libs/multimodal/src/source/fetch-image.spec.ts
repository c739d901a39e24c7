import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { encodePng } from '@kvcapsule/testing/pictures';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadImage } from '../load-image.js';
import { DEFAULT_IMAGE_POLICY, type ImagePolicy } from './fetch-image.js';

const PARAM = 'messages.0.content.1.image_url.url';
const PNG = encodePng({ width: 2, height: 1, colour: 'grey', bitDepth: 8, samples: [1, 2] });
const TIMEOUT_MS = 600;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const png: Answer = (_, response) => response.setHeader('content-type', 'image/png').end(PNG);
const redirect =
  (to: string): Answer =>
  (_, response) =>
    response.writeHead(302, { location: to }).end('moved');

const answers: Record<string, Answer> = {
  '/good': png,
  '/unnamed': (_, response) => response.setHeader('content-type', 'text/plain').end(PNG),
  '/needs-agent': (request, response) =>
    request.headers['user-agent'] ? png(request, response) : response.writeHead(403).end(),
  '/missing': (_, response) => response.writeHead(404).end('no'),
  '/broken': (_, response) => response.writeHead(500).end('no'),
  '/page': (_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><p>Hello'),
  '/silent': () => undefined,
  '/hang': (_, response) => response.writeHead(200, { 'content-type': 'image/png' }).flushHeaders(),
  '/trickle': (_, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('x'), 50);
    response.on('close', () => clearInterval(timer));
  },
  '/too-short': (_, response) => {
    response.writeHead(200, { 'content-length': PNG.length + 10 });
    response.write(PNG);
    setTimeout(() => response.destroy(), 20);
  },
  '/too-long': (_, response) => response.writeHead(200, { 'content-length': PNG.length - 10 }).end(PNG),
  '/endless': (_, response) => {
    response.writeHead(200);
    const more = () => {
      while (response.write(Buffer.alloc(65_536)));
    };
    response.on('drain', more);
    more();
  },
  '/announced': (_, response) => response.writeHead(200, { 'content-length': 1e9 }).write('x'),
  '/to-good': redirect('/good'),
  '/three': redirect('/two'),
  '/two': redirect('/to-good'),
  '/four': redirect('/three'),
  '/loop': redirect('/loop'),
  '/nowhere': (_, response) => response.writeHead(302).end(),
  '/to-file': redirect('file:///etc/passwd'),
};

let server: Server;
/** Not on the list of hosts that are allowed; reached only if a guard fails. */
let inner: Server;
let innerRequests = 0;
let base: string;
let policy: ImagePolicy;

const listen = (listener: Server) =>
  new Promise<number>((resolve) => {
    listener.listen(0, '127.0.0.1', () => resolve((listener.address() as AddressInfo).port));
  });

beforeAll(async () => {
  inner = createServer((request, response) => {
    innerRequests += 1;
    png(request, response);
  });
  const innerPort = await listen(inner);
  answers['/to-inner'] = redirect(`http://127.0.0.1:${innerPort}/good`);
  answers['/to-inner-name'] = redirect(`http://localhost:${innerPort}/good`);
  server = createServer((request, response) => {
    const answer = answers[new URL(request.url ?? '', 'http://x').pathname];
    if (answer) answer(request, response);
    else response.writeHead(404).end();
  });
  const port = await listen(server);
  base = `http://127.0.0.1:${port}`;
  policy = {
    ...DEFAULT_IMAGE_POLICY,
    allowHosts: [`127.0.0.1:${port}`],
    maxBytes: 1e6,
    fetchTimeoutMs: TIMEOUT_MS,
  };
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  inner.close();
});

/** Paths that wait for the deadline; for the others a busy machine may take seconds. */
const WAITING = ['/silent', '/hang', '/trickle'];
const PATIENT_MS = 20_000;

const load = (path: string, signal?: AbortSignal) => {
  const fetchTimeoutMs = WAITING.includes(path) ? TIMEOUT_MS : PATIENT_MS;
  return loadImage(base + path, { param: PARAM, policy: { ...policy, fetchTimeoutMs }, signal });
};

async function openConnections(): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}

describe('fetching a picture', () => {
  afterEach(async () => {
    await expect.poll(openConnections, { timeout: PATIENT_MS }).toBe(0);
  });

  it.each(['/good', '/unnamed', '/needs-agent', '/to-good', '/two', '/good?token=secret#fragment'])(
    '%s is answered',
    async (path) => {
      expect(await load(path)).toMatchObject({ format: 'png', width: 2, height: 1 });
    },
  );

  const refused: [string, string, RegExp][] = [
    ['/missing?token=secret', 'IMAGE_FETCH_FAILED', /answered 404/],
    ['/broken', 'IMAGE_FETCH_FAILED', /answered 500/],
    ['/page', 'IMAGE_INVALID', /not a picture/],
    ['/silent', 'IMAGE_FETCH_FAILED', /within 0\.6 s/],
    ['/hang', 'IMAGE_FETCH_FAILED', /within 0\.6 s/],
    ['/trickle', 'IMAGE_FETCH_FAILED', /within 0\.6 s/],
    ['/too-short', 'IMAGE_FETCH_FAILED', /broke off|another length/],
    ['/too-long', 'IMAGE_', /./],
    ['/endless', 'IMAGE_TOO_LARGE', /1000000 bytes/],
    ['/announced', 'IMAGE_TOO_LARGE', /1000000 bytes/],
    ['/four', 'IMAGE_FETCH_FAILED', /redirects more than 3/],
    ['/loop', 'IMAGE_FETCH_FAILED', /redirects more than 3/],
    ['/nowhere', 'IMAGE_FETCH_FAILED', /without a valid location/],
    ['/to-file', 'IMAGE_URL_BLOCKED', /another scheme/],
    ['/to-inner', 'IMAGE_URL_BLOCKED', /not a public address/],
    ['/to-inner-name', 'IMAGE_URL_BLOCKED', /not a public address/],
  ];

  it.each(refused)('%s is refused as the client’s fault, in time', async (path, code, message) => {
    const started = performance.now();
    const error: unknown = await load(path).catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      code: expect.stringContaining(code) as string,
      message: expect.stringMatching(message) as string,
      param: PARAM,
      status: 400,
    });
    expect(String(error)).not.toContain('secret');
    expect(performance.now() - started).toBeLessThan(PATIENT_MS);
    expect(innerRequests).toBe(0);
  });

  it('is not slower beside servers that never answer', async () => {
    const controller = new AbortController();
    const patient = {
      param: PARAM,
      policy: { ...policy, fetchTimeoutMs: 60_000 },
      signal: controller.signal,
    };
    let badOnes = 0;
    const bad = Array.from({ length: 8 }, () =>
      loadImage(`${base}/hang`, patient).catch(() => {
        badOnes += 1;
      }),
    );
    await Promise.all(Array.from({ length: 8 }, () => load('/good')));
    expect(badOnes).toBe(0);
    controller.abort();
    await Promise.all(bad);
    expect(badOnes).toBe(8);
  });

  it('ends when the client goes away', async () => {
    const controller = new AbortController();
    const loading = load('/hang', controller.signal);
    setTimeout(() => controller.abort(new Error('gone')), 50);
    await expect(loading).rejects.toThrow('gone');
    await expect(load('/good', controller.signal)).rejects.toThrow('gone');
  });
});

describe('an address that is not public', () => {
  const strict = { param: PARAM, policy: { ...DEFAULT_IMAGE_POLICY, fetchTimeoutMs: TIMEOUT_MS } };

  it.each([
    'http://127.0.0.1:PORT/good',
    'http://localhost:PORT/good',
    'http://2130706433:PORT/good',
    'http://0x7f.1:PORT/good',
    'http://[::ffff:127.0.0.1]:PORT/good',
    'http://[::1]:PORT/good',
    'http://169.254.169.254/latest/meta-data',
    'http://0.0.0.0:PORT/good',
    'http://[64:ff9b::7f00:1]:PORT/good',
  ])('%s is not asked', async (url) => {
    const { port } = inner.address() as AddressInfo;
    await expect(loadImage(url.replace('PORT', String(port)), strict)).rejects.toMatchObject({
      code: 'IMAGE_URL_BLOCKED',
      param: PARAM,
    });
    expect(innerRequests).toBe(0);
  });
});

it.each(['LocalHost', 'localhost:PORT'])(
  'asks a host that the operator allows by name: %s',
  async (allowed) => {
    const { port } = server.address() as AddressInfo;
    const allowHosts = [allowed.replace('PORT', String(port))];
    const options = { param: PARAM, policy: { ...policy, allowHosts } };
    await expect(loadImage(`http://localhost:${port}/good`, options)).resolves.toMatchObject({ width: 2 });
    await expect(loadImage(`http://127.0.0.1:${port}/good`, options)).rejects.toMatchObject({
      code: 'IMAGE_URL_BLOCKED',
    });
  },
);

it('names a connection that is refused and an answer that is not HTTP', async () => {
  const closed = createTcpServer((socket) => socket.resume().end('220 mail.example.com\r\n'));
  const port = await listen(closed as unknown as Server);
  const options = { param: PARAM, policy: { ...policy, allowHosts: ['127.0.0.1'] } };
  await expect(loadImage(`http://127.0.0.1:${port}/`, options)).rejects.toMatchObject({
    code: 'IMAGE_FETCH_FAILED',
    message: expect.stringContaining('did not answer properly') as string,
  });
  await new Promise((resolve) => closed.close(resolve));
  await expect(loadImage(`http://127.0.0.1:${port}/`, options)).rejects.toMatchObject({
    code: 'IMAGE_FETCH_FAILED',
    message: expect.stringContaining('refused the connection') as string,
  });
});
