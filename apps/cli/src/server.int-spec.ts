import { once } from 'node:events';
import { createServer, type RequestListener, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { NobodyAnswers, requestJson, type Server } from './server.js';

let http: HttpServer | undefined;
afterEach(() => {
  vi.restoreAllMocks();
  http?.closeAllConnections();
  http?.close();
});

async function serverThat(answers: RequestListener): Promise<Server> {
  http = createServer(answers).listen(0, '127.0.0.1');
  await once(http, 'listening');
  return { url: `http://127.0.0.1:${String((http.address() as AddressInfo).port)}` };
}

const ask = (server: Server) => requestJson(server, '/x', z.object({ value: z.number() }));

describe('what a server answers', () => {
  it('is taken where it has the form that is asked for', async () => {
    const server = await serverThat((_, response) => response.end('{"value":7}'));
    expect(await ask(server)).toEqual({ value: 7 });
  });

  it('may have more in it, as newer servers tell', async () => {
    const Answer = z.strictObject({ inner: z.strictObject({ value: z.number() }) });
    const server = await serverThat((_, response) => response.end('{"inner":{"value":7,"new":1},"newer":2}'));
    expect(await requestJson(server, '/x', Answer)).toEqual({ inner: { value: 7, new: 1 }, newer: 2 });
  });

  it.each(['<html>', '{"value":"7"}', ''])('is refused in any other form: %j', async (text) => {
    const server = await serverThat((_, response) => response.end(text));
    await expect(ask(server)).rejects.toThrow('in another form');
  });

  it('is told from none, with the reason, and does nothing to the terminal', async () => {
    const gone = await serverThat(() => undefined);
    http?.close();
    await expect(ask(gone)).rejects.toThrow(`Nothing answers at ${gone.url} (ECONNREFUSED).`);
    const error = { message: 'no\u001b[31m\nkey', code: 'bad\u0007' };
    const rude = await serverThat((_, response) => response.writeHead(400).end(JSON.stringify({ error })));
    await expect(ask(rude)).rejects.toThrow('The server refused: no [31m key (bad )');
    const other = await serverThat((_, response) => response.socket?.end('SSH-2.0\r\n'));
    await expect(ask(other)).rejects.toThrow(/Nothing answers at .* \(\w[\w ]+.*\)/);
  });

  it('is not waited for without end', async () => {
    const { timeout } = AbortSignal;
    vi.spyOn(AbortSignal, 'timeout').mockImplementation(() => timeout.call(AbortSignal, 100));
    const silent = await serverThat(() => undefined);
    await expect(ask(silent)).rejects.toThrow(NobodyAnswers);
  });

  it.each([200, 500])(
    'is not read without end, status %i',
    async (status) => {
      const piece = Buffer.alloc(2 ** 20, 'x');
      let sent = 0;
      const endless = await serverThat((_, response) => {
        response.writeHead(status).write('"');
        const more = (): void => {
          while (!response.destroyed && response.write(piece)) sent += 1;
          sent += 1;
        };
        response.on('drain', more);
        more();
      });
      await expect(ask(endless)).rejects.toThrow(status === 200 ? 'in another form' : 'answered 500');
      expect(sent).toBeLessThan(96);
    },
    30_000,
  );
});
