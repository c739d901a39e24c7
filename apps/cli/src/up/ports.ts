import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { serverFetch } from '@kvcapsule/platform/http';
import { CliError } from '../failure.js';

/** It is told at once, before anything is sent. */
const LOOK_MS = 1_000;

/**
 * @param names how host and port were given: `--host`, `KVCAPSULE_HOST`
 * @throws CliError when something already listens there, no client would come, or the address is not of this machine
 */
export async function assertListens(
  host: string,
  port: number,
  names: { readonly host: string; readonly port: string },
): Promise<void> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    throw fault(host, port, names, String((error as NodeJS.ErrnoException).code));
  }
  server.close();
  await once(server, 'close');
  if (await isRefused(port))
    throw new CliError(
      `${names.port}: browsers and many other clients connect to no port ${String(port)}.`,
      'Choose another, such as 8000.',
    );
}

/** Whether it is one of the ports that the standard of `fetch` leaves to other protocols, such as 6000; nobody listens. */
async function isRefused(port: number): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(LOOK_MS);
    await serverFetch(`http://127.0.0.1:${String(port)}`, { method: 'HEAD', redirect: 'manual', signal });
    return false;
  } catch (error) {
    return ((error as Error).cause as Error | undefined)?.message === 'bad port';
  }
}

/** `preferred` on loopback where it is free, else any other. */
export async function freePort(preferred: number): Promise<number> {
  return (await listenable(preferred)) ?? (await listenable(0)) ?? preferred;
}

async function listenable(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch {
    return undefined;
  }
  const { port: bound } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return bound;
}

function fault(host: string, port: number, names: { host: string; port: string }, code: string): CliError {
  switch (code) {
    case 'EADDRINUSE':
      return new CliError(
        `${names.port}: port ${String(port)} on ${host} is taken.`,
        `Choose another: --port ${String(port + 1)}`,
      );
    case 'EACCES':
      return new CliError(
        `${names.port}: this user may not listen on port ${String(port)}.`,
        'Choose one above 1023.',
      );
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new CliError(
        `${names.host}: there is no host ${JSON.stringify(host)} (${code}).`,
        'Choose an address of this machine.',
      );
    default:
      return new CliError(
        `${names.host}: cannot listen on ${host} (${code}).`,
        'Choose an address of this machine.',
      );
  }
}
