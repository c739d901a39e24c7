import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { CliError } from '../failure.js';

/**
 * @param names how host and port were given: `--host`, `KVCAPSULE_HOST`
 * @throws CliError when something already listens there or the address is not of this machine
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
