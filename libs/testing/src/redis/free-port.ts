import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below those that the kernel gives to connections, of which each would take one that a server is to come back to. */
const FIRST = 12_000;
const COUNT = 20_000;
/** So that tests which run beside each other, often under ids one after the other, look far from each other. */
const STRIDE = 613;

let tried = (process.pid * STRIDE) % COUNT;

/** A port of loopback that nobody listens on, and that this process has not been given before. */
export async function freePort(): Promise<number> {
  for (let left = COUNT; left > 0; left -= 1) {
    tried = (tried + 1) % COUNT;
    // several ask at one time: while one looks, the others go on
    const port = FIRST + tried;
    if (await isFree(port)) return port;
  }
  throw new Error('every port is taken');
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
