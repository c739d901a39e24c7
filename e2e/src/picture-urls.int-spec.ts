import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, picture, until } from './harness.js';

const golden = Buffer.from(picture('a').slice('data:image/png;base64,'.length), 'base64');

/** What a URL's server may do to us, by path. */
const faults: Record<string, (response: ServerResponse) => void> = {
  '/404': (response) => response.writeHead(404).end(),
  '/html': (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>no</html>'),
  '/hang': (response) => response.writeHead(200, { 'content-type': 'image/png' }).flushHeaders(),
  '/drip': (response) => {
    const drip = setInterval(() => response.write(golden.subarray(0, 1)), 1_000);
    response.on('close', () => {
      clearInterval(drip);
    });
  },
  '/short': (response) => response.writeHead(200, { 'content-length': golden.length + 50 }).write(golden),
  '/loop': (response) => response.writeHead(302, { location: '/loop' }).end(),
  '/gone': (response) => response.socket?.destroy(),
  '/endless': (response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    };
    response.on('drain', more);
    more();
  },
};

describe('F16: pictures by URL', () => {
  let cluster: Cluster, server: Server, host: string;
  const sockets = new Set<Socket>();

  beforeAll(async () => {
    server = createServer((request, response) => {
      const fault = faults[request.url ?? ''];
      if (fault) fault(response);
      else response.end(golden);
    }).listen(0, '127.0.0.1');
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    });
    await once(server, 'listening');
    host = `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    cluster = await Cluster.start({ routerArgs: ['--allow-image-host', host] });
  }, 120_000);
  afterAll(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await cluster.stop();
  });

  const send = async (path: string): Promise<{ status: number; text: string; ms: number }> => {
    const started = performance.now();
    const messages = [ask('What is at A1?', `http://${host}${path}`)];
    const response = await cluster.chat({ model: 'emoji-vlm', temperature: 0, messages });
    return { status: response.status, text: await response.text(), ms: performance.now() - started };
  };

  it('that cannot be had are 4xx naming the part, while good ones beside them are answered', async () => {
    const bad = Object.keys(faults).map(send);
    const good = await Promise.all(Array.from({ length: 8 }, (_, n) => send(`/picture-${String(n)}`)));
    for (const { status, text, ms } of good) {
      expect([status, text]).toEqual([200, expect.stringContaining('"content":"bus."')]);
      // the bad ones hold on for up to ten seconds; nobody waits for them
      expect(ms).toBeLessThan(5_000);
    }
    for (const { status, text, ms } of await Promise.all(bad)) {
      expect([status, text]).toEqual([400, expect.stringContaining('messages.0.content.0')]);
      expect(text).toMatch(/"code":"image_[a-z_]+"/);
      expect(ms).toBeLessThan(12_000);
    }
    // kept-alive connections end by themselves soon after
    await until(() => sockets.size === 0, 30_000);
  }, 180_000);
});
