import { once } from 'node:events';
import { createServer } from 'node:net';
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
