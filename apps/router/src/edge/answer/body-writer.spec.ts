import { createServer, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { BodyWriter } from './body-writer.js';

let server: Server;

afterEach(() => {
  server.close();
});

/** What a client reads to the end that sends this, where these parts answer every request. */
async function exchange(requests: string, parts: readonly string[]): Promise<string> {
  const answer = async (response: ServerResponse) => {
    const body = new BodyWriter(response);
    response.writeHead(200, { 'content-type': 'text/plain' });
    for (const part of parts) {
      body.write(part);
      await setImmediate();
    }
    response.end('!');
  };
  server = createServer((_request, response) => void answer(response)).listen(0, '127.0.0.1');
  await new Promise((ready) => server.once('listening', ready));
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1');
  socket.write(requests);
  const read: Buffer[] = [];
  for await (const data of socket) read.push(data as Buffer);
  return Buffer.concat(read).toString();
}

const bodyOf = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4);
const CLOSING = 'GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';

it('frames every part as a chunk, by its bytes', async () => {
  expect(bodyOf(await exchange(CLOSING, ['one', 'two', 'drei – 三']))).toBe(
    '3\r\none\r\n3\r\ntwo\r\nc\r\ndrei – 三\r\n1\r\n!\r\n0\r\n\r\n',
  );
});

it('frames nothing for a client that knows no chunks', async () => {
  expect(bodyOf(await exchange('GET / HTTP/1.0\r\n\r\n', ['one', 'two', 'three']))).toBe('onetwothree!');
});

it('keeps behind the answers that a connection still waits for', async () => {
  const text = await exchange(`GET / HTTP/1.1\r\nhost: x\r\n\r\n${CLOSING}`, ['a', 'bc', 'def']);
  const bodies = text
    .split(/HTTP\/1\.1 200 OK/)
    .slice(1)
    .map(bodyOf);
  const body = '1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n1\r\n!\r\n0\r\n\r\n';
  expect(bodies).toEqual([body, body]);
});

it('tells what drains when the connection is full', async () => {
  const drained: string[] = [];
  const flood = 'x'.repeat(8 * 1024 * 1024);
  server = createServer((_request, response) => {
    const body = new BodyWriter(response);
    response.writeHead(200, {});
    expect(body.write('a')).toBeUndefined();
    body.write(flood)?.once('drain', () => {
      drained.push('b');
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await new Promise((ready) => server.once('listening', ready));
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1');
  socket.write(CLOSING);
  let bytes = 0;
  for await (const data of socket) bytes += (data as Buffer).length;
  expect([drained, bytes > flood.length]).toEqual([['b'], true]);
});
