import { randomUUID } from 'node:crypto';
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { KvcError } from '@kvcapsule/contracts/errors';
import { errorBody } from '@kvcapsule/contracts/openai';
import { CLIENT_REQUEST_ID } from '@kvcapsule/domain/request';
import { endAndClose } from './linger.js';

/** A client's own id is kept where it is harmless to print. */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && CLIENT_REQUEST_ID.test(given) ? given : newRequestId();
}

export const newRequestId = () => `req-${randomUUID()}`;

/** Clients that wait wait as long as they are told; without a word they guess. */
const DEFAULT_RETRY_AFTER_MS = 1_000;

/** Headers that an error brings along, whoever writes it. */
export function errorHeaders(error: KvcError): Record<string, string> {
  const mayRetry = error.status === 429 || error.status === 503;
  const retryAfterMs = error.retryAfterMs ?? (mayRetry ? DEFAULT_RETRY_AFTER_MS : undefined);
  return {
    ...(error.code === 'INVALID_API_KEY' && { 'www-authenticate': 'Bearer' }),
    ...(retryAfterMs !== undefined && {
      'retry-after': String(Math.ceil(retryAfterMs / 1_000)),
      'retry-after-ms': String(retryAfterMs),
    }),
  };
}

/**
 * Answers on a connection on which no request could be read, and closes it. Nothing is written where an answer
 * is under way already.
 */
export function refuseConnection(socket: Duplex, error: KvcError, id: string, allow?: string): void {
  if (!socket.writable) return;
  const body = JSON.stringify(errorBody(error));
  const headers = {
    'x-request-id': id,
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
    ...errorHeaders(error),
    ...(allow !== undefined && { allow }),
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const status = `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? 'Error'}\r\n`;
  endAndClose(socket, `${status}${lines.join('')}\r\n${body}`);
}
