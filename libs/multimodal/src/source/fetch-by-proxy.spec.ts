import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { encodePng } from '@kvcapsule/testing/pictures';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_IMAGE_POLICY, fetchImage } from './fetch-image.js';

const PNG = encodePng({ width: 2, height: 1, colour: 'grey', bitDepth: 8, samples: [1, 2] });
/** Reserved: no resolver knows it, the proxy alone does. */
const FAR = 'http://pictures.invalid/a.png';

const portOf = (server: Server) => (server.address() as AddressInfo).port;

describe('fetching a picture where the environment names a proxy', () => {
  let pictures: Server;
  let proxy: Server;
  const asked: string[] = [];
  beforeAll(async () => {
    pictures = createServer((_, response) => response.end(PNG)).listen(0, '127.0.0.1');
    proxy = createServer((request, response) => {
      asked.push(String(request.url));
      response.end(PNG);
    }).listen(0, '127.0.0.1');
    proxy.on('connect', (request, socket, head) => {
      asked.push(String(request.url));
      const there = connect(portOf(pictures), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        there.write(head);
        there.pipe(socket).pipe(there);
      });
      socket.on('error', () => there.destroy());
    });
    await Promise.all([once(pictures, 'listening'), once(proxy, 'listening')]);
  });
  afterAll(() => {
    pictures.close();
    proxy.close();
  });
  beforeEach(() => {
    process.env['http_proxy'] = `http://127.0.0.1:${String(portOf(proxy))}`;
    asked.length = 0;
  });
  afterEach(() => {
    delete process.env['http_proxy'];
    delete process.env['no_proxy'];
  });

  const fetching = (url: string, allowHosts: readonly string[] = []) =>
    fetchImage(new URL(url), { param: 'p', policy: { ...DEFAULT_IMAGE_POLICY, allowHosts } });

  it('asks the proxy for hosts that it alone can reach', async () => {
    expect(Buffer.from(await fetching(FAR))).toEqual(Buffer.from(PNG));
    expect(asked).toHaveLength(1);
    expect(asked[0]).toContain('pictures.invalid');
  });

  it.each([
    'http://127.0.0.1/a.png',
    'http://10.0.0.1/a.png',
    'http://[::1]/a.png',
    'http://localhost/a.png',
  ])('never asks it for %s', async (url) => {
    await expect(fetching(url)).rejects.toMatchObject({ code: 'IMAGE_URL_BLOCKED' });
    expect(asked).toEqual([]);
  });

  it('goes straight to hosts that the environment leaves out', async () => {
    process.env['no_proxy'] = '127.0.0.1';
    const host = `127.0.0.1:${String(portOf(pictures))}`;
    expect(Buffer.from(await fetching(`http://${host}/a.png`, [host]))).toEqual(Buffer.from(PNG));
    expect(asked).toEqual([]);
  });

  it('needs no proxy where none is named', async () => {
    delete process.env['http_proxy'];
    await expect(fetching(FAR)).rejects.toMatchObject({ code: 'IMAGE_FETCH_FAILED' });
  });
});
