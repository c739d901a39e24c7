import { once } from 'node:events';
import { createServer } from 'node:net';
import { CliError } from '../failure.js';

/** @throws CliError when something already listens there or the address is not of this machine */
export async function assertPortFree(host: string, port: number): Promise<void> {
  if (port === 0) return;
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new CliError(
        `Port ${String(port)} on ${host} is taken.`,
        `Choose another: --port ${String(port + 1)}`,
      );
    if (code === 'EACCES')
      throw new CliError(`This user may not listen on port ${String(port)}.`, 'Choose one above 1023.');
    throw new CliError(
      `Cannot listen on ${host}:${String(port)} (${String(code)}).`,
      'Choose an address of this machine.',
    );
  }
  server.close();
  await once(server, 'close');
}
