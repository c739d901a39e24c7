import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FaultProxy } from './fault-proxy.js';

/** Says each line again; ends when its client does. */
const server = createServer((socket) => socket.pipe(socket).on('error', () => undefined));
let proxy: FaultProxy;
beforeEach(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  proxy = await FaultProxy.start((server.address() as AddressInfo).port);
});
afterEach(async () => {
  await proxy.stop();
  server.close();
});

async function open(): Promise<Socket> {
  const socket = connect(proxy.port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

/** What comes back within that time. */
async function heard(socket: Socket, withinMs = 200): Promise<string> {
  let text = '';
  socket.on('data', (data) => (text += data.toString()));
  await sleep(withinMs);
  socket.removeAllListeners('data');
  return text;
}

describe('FaultProxy', () => {
  it('stops twice as well as once, whatever is open', async () => {
    proxy.set('silent');
    const socket = await open();
    socket.on('error', () => undefined).write('a');
    await proxy.stop();
    await proxy.stop();
  });

  it('passes what comes, and ends', async () => {
    const socket = await open();
    socket.end('a');
    expect(await heard(socket)).toBe('a');
    expect(socket.readableEnded).toBe(true);
  });

  it('keeps what it is given while it is silent, also of new connections, and passes it on after', async () => {
    const first = await open();
    proxy.set('silent');
    const second = await open();
    first.write('a');
    second.write('b');
    expect(await Promise.all([heard(first), heard(second)])).toEqual(['', '']);
    first.write('c');
    proxy.set('passing');
    expect(await Promise.all([heard(first), heard(second)])).toEqual(['ac', 'b']);
    first.destroy();
    second.destroy();
  });

  it('keeps from the server what it is given while it is deaf', async () => {
    const socket = await open();
    socket.write('a');
    await once(socket, 'data');
    proxy.set('deaf');
    socket.write('b');
    expect(await heard(socket)).toBe('');
    proxy.set('passing');
    expect(await heard(socket)).toBe('b');
    socket.destroy();
  });

  it('lets what is slow wait, in each direction and in order', async () => {
    const socket = await open();
    proxy.set('slow', 250);
    const beganMs = performance.now();
    socket.write('a');
    await sleep(20);
    socket.write('b');
    const [first] = (await once(socket, 'data')) as [Buffer];
    expect(performance.now() - beganMs).toBeGreaterThan(490);
    expect(first.toString() + (await heard(socket))).toBe('ab');
    socket.destroy();
  });

  it('cuts connections whose client sends more than so much, and no others', async () => {
    const [short, long] = [await open(), await open()];
    proxy.set('cutting', 3);
    short.write('abc');
    expect(await heard(short)).toBe('abc');
    long.write('abcd');
    expect((await once(long, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' });
    proxy.set('passing');
    short.write('d');
    expect(await heard(short)).toBe('d');
    short.destroy();
  });

  it('resets what is open, and what comes while it refuses', async () => {
    const socket = await open();
    const lost = once(socket, 'error');
    proxy.set('refusing');
    expect((await lost)[0]).toMatchObject({ code: 'ECONNRESET' });
    const late = connect(proxy.port, '127.0.0.1');
    expect((await once(late, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' });
    proxy.set('passing');
    const again = await open();
    again.write('a');
    expect(await heard(again)).toBe('a');
    again.destroy();
  });
});
