import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { expect, it, vi } from 'vitest';

import { say } from './server.js';

async function specOf(onData: 'end' | 'stand still') {
  const server = createServer((socket) => {
    socket.on('data', () => onData === 'end' && socket.end());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const open = async () => {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return socket;
  };
  return { spec: { port, connect: open, lines: [], greeting: '' }, close: () => server.close() };
}

it('says of a server that closes the connection that it does', async () => {
  const { spec, close } = await specOf('end');
  await expect(say(spec, 'INFO all')).rejects.toThrow(/^INFO: the server on port \d+ has closed/);
  close();
});

it('does not wait for a server that stands still', async () => {
  const { spec, close } = await specOf('stand still');
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  try {
    const said = expect(say(spec, 'PING')).rejects.toThrow(`port ${spec.port} gives no reply`);
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
    vi.runAllTimers();
    await said;
  } finally {
    vi.useRealTimers();
    close();
  }
});
