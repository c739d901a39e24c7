import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { KvcError } from '@kvcapsule/contracts/errors';
import { errorBody } from '@kvcapsule/contracts/openai';
import type { Logger } from '@kvcapsule/platform/logging';
import type { Settings } from '../../settings.js';
import { holdBody } from './continue.js';
import { answerAndClose } from './linger.js';
import { newRequestId, refuseConnection, requestId } from './refuse.js';
import type { Routes } from './routes.js';

/** Methods that Fastify hands to its router; it has no answer to the others that Node's parser lets through. */
const ROUTED: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/**
 * How long a connection without a request is kept. Load balancers commonly keep theirs for 60 s; the one that closes
 * first must be the one that sends, or a request may meet a connection that is closed at that moment.
 */
const IDLE_MS = 75_000;

/** How often connections are looked through for those past a deadline. */
const MAX_CHECK_MS = 5_000;

/** A client that trickles what is left of a body past its own deadline is cut off so much later. */
const LAST_CALL_MS = 5_000;

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;
type Limits = Pick<Settings, 'headTimeoutMs' | 'bodyTimeoutMs'>;

function refuse(response: ServerResponse, logger: Logger, error: KvcError, allow?: string): void {
  const { req: request } = response;
  const id = requestId(request);
  const { code, status } = error;
  logger.info({ requestId: id, method: request.method, status, code }, 'request completed');
  const headers = {
    'x-request-id': id,
    'content-type': 'application/json; charset=utf-8',
    ...(allow !== undefined && { allow }),
  };
  answerAndClose(response, status, headers, JSON.stringify(errorBody(error)));
}

/** What Node's parser gave up on, as the client may be told; undefined where there is nobody to tell. */
export function connectionError({ code }: NodeJS.ErrnoException): KvcError | undefined {
  switch (code) {
    case 'ECONNRESET':
    case 'EPIPE':
      return undefined;
    case 'HPE_INVALID_EOF_STATE':
      return new KvcError('INVALID_REQUEST', 'The connection was closed before the request was whole.');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new KvcError('REQUEST_TIMEOUT', 'The request was not sent in time.');
    case 'HPE_HEADER_OVERFLOW':
      return new KvcError('HEADERS_TOO_LARGE', 'The headers have more than 16 KiB together.');
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new KvcError('REQUEST_TOO_LARGE', 'The chunk extensions have more than 16 KiB together.');
    default:
      return new KvcError('INVALID_REQUEST', 'The request is not valid HTTP.');
  }
}

type Answering = Duplex & { readonly _httpMessage?: ServerResponse | null };

/** Connections whose answers under way are awaited before they are refused. */
const doomed = new WeakSet<Duplex>();

/**
 * Answers in OpenAI's shape where no request could be read whole. Requests that were read before the rubbish get
 * their own answers first, and must not take this for one.
 */
export function onClientError(fault: Error, socket: Duplex): void {
  if (doomed.has(socket)) return;
  const error = connectionError(fault);
  const { _httpMessage: answer } = socket as Answering;
  if (!error) return void socket.destroy();
  if (answer == null) return refuseConnection(socket, error, newRequestId());
  if (answer.req.complete) {
    doomed.add(socket);
    answer.once('finish', () => {
      doomed.delete(socket);
      onClientError(fault, socket);
    });
  } else if (answer.headersSent) socket.destroy();
  else refuseConnection(socket, error, requestId(answer.req));
}

/**
 * A process that stood still finds that time is up before it reads what has come meanwhile: a request that lies there
 * would be lost with its connection, and its client could not tell whether it was heeded. So sockets are read first.
 */
function closeIdle(socket: Socket): void {
  const { _httpMessage: answer } = socket as Answering;
  // of an answer whose client takes nothing, which has its own end
  if (answer != null) return;
  const { bytesRead } = socket;
  setImmediate(() => {
    if (socket.bytesRead === bytesRead) socket.destroy();
  });
}

/**
 * Node's server, with an answer of ours to everything that Node would answer by itself: methods that no router
 * knows, expectations, a missing host, requests that are not HTTP, and deadlines for head and body.
 */
export function createHttpServer(handler: Handler, routes: Routes, limits: Limits, logger: Logger): Server {
  const { headTimeoutMs, bodyTimeoutMs } = limits;
  const options = {
    // Asked for by ourselves, since Node's own refusal has no body.
    requireHostHeader: false,
    headersTimeout: headTimeoutMs,
    requestTimeout: headTimeoutMs + bodyTimeoutMs + LAST_CALL_MS,
    connectionsCheckingInterval: Math.min(MAX_CHECK_MS, headTimeoutMs),
    keepAliveTimeout: IDLE_MS,
  };
  const dispatch: Handler = (request, response) => {
    // the server as a whole is no path, and Fastify calls no hook for it
    if (ROUTED.has(request.method ?? '') && request.url !== '*') return handler(request, response);
    const { error, allow } = routes.refusal(request.url ?? '', request.method ?? '');
    refuse(response, logger, error, allow);
  };
  const server = createServer(options, dispatch);
  server.on('timeout', closeIdle);
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    holdBody(request, response);
    dispatch(request, response);
  });
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    refuseConnection(socket, new KvcError('NOT_FOUND', 'This server is no proxy.'), requestId(request));
  });
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    const message = 'The only expectation that is met is 100-continue.';
    refuse(response, logger, new KvcError('EXPECTATION_FAILED', message));
  });
  // A client that has closed its sending side may still wait for its answer.
  return Object.assign(server, { httpAllowHalfOpen: true });
}
