import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** Who has sent nothing for so long waits for the answer, not for room to send. */
const IDLE_MS = 1_000;
/** How long a connection that was refused stays, so that what is still on its way does not reset it. */
const REFUSED_MS = 2_000;

/**
 * Answers before the request's body is read, and then closes. The answer leaves whole at once, and what the client
 * still sends is thrown away until it pauses or the server's time for a request is over: closing at once would reset
 * the connection under a client that sends everything before it reads.
 */
export function answerAndClose(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, number | string | string[] | undefined>>,
  body: string,
): void {
  const { req: request } = response;
  const end = () => response.end();
  const idle = setTimeout(end, IDLE_MS);
  response.once('close', () => clearTimeout(idle));
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' });
  response.write(body);
  request
    .on('data', () => idle.refresh())
    .once('end', end)
    .once('close', end)
    .resume();
}

/** Ends what may be written to a connection, and the connection after a moment. */
export function endAndClose(socket: Duplex, last: string): void {
  const timer = setTimeout(() => socket.destroy(), REFUSED_MS);
  socket.once('close', () => clearTimeout(timer)).end(last);
}
