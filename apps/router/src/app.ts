import 'reflect-metadata';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { KvcError } from '@kvcapsule/contracts/errors';
import { errorBody } from '@kvcapsule/contracts/openai';
import type { Logger } from '@kvcapsule/platform/logging';
import cors from '@fastify/cors';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AppModule, type Environment } from './app.module.js';
import { callerOf, keyCheck } from './edge/auth.js';
import { toKvcError } from './edge/error.filter.js';
import { accessLog } from './edge/http/access-log.js';
import { readBody } from './edge/http/body.js';
import { refuseForeignPage } from './edge/http/foreign-page.js';
import { InlineData, keepInlineData } from './edge/http/inline-data.js';
import { JsonParser } from './edge/http/json.js';
import { requestId } from './edge/http/refuse.js';
import { Routes } from './edge/http/routes.js';
import { createHttpServer, type Handler, onClientError } from './edge/http/server.js';
import { serveOpenApi } from './edge/open-api.js';
import { TurnGate } from './edge/turn-gate.js';
import { serveConsoleAssets } from './operations/console.js';
import { Inflight } from './operations/inflight.service.js';
import { NestLogger } from './operations/nest-logger.js';
import { RECEIPT_HEADERS } from './placement/receipt.js';
import type { Settings } from './settings.js';

/** How long a browser may keep the answer to a preflight. */
const PREFLIGHT_SECONDS = 600;

/** What a head may hold at most bounds ids in paths: those of models may be of any length. */
const LONGEST_PARAM = 16_384;

/** Nest would turn Fastify's errors into its own and lose what they were. */
class Adapter extends FastifyAdapter {
  override mapException(fault: unknown): unknown {
    return toKvcError(fault);
  }
}

/** What Fastify finds wrong before it looks for a route, such as a path that cannot be decoded. */
function refuse(logger: Logger, { id, method }: FastifyRequest, reply: FastifyReply): void {
  const error = new KvcError('INVALID_REQUEST', 'The request line is not valid.');
  const { code, status } = error;
  logger.info({ requestId: id, method, status, code }, 'request completed');
  void reply.header('x-request-id', id).status(error.status).send(errorBody(error));
}

function adapter({ settings, logger }: Environment, routes: Routes): FastifyAdapter {
  const adapter = new Adapter({
    serverFactory: (handler: Handler) => createHttpServer(handler, routes, settings, logger),
    clientErrorHandler: onClientError,
    frameworkErrors: (_fault: unknown, request: FastifyRequest, reply: FastifyReply) => {
      refuse(logger, request, reply);
    },
    genReqId: requestId,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: LONGEST_PARAM },
    // After our own drain: otherwise a connection that never sent a request keeps close() waiting.
    forceCloseConnections: true,
  });
  adapter.getInstance().addHook('onRoute', ({ url, method }) => routes.add(url, [method].flat()));
  return adapter;
}

/** Headers of which Node takes the first and drops the others without a word; a proxy before us may take the last. */
const SINGLE: readonly string[] = ['host', 'authorization', 'content-type'];

/** HTTP/1.1 asks for one host, and for an answer where it is missing. */
function checkHeaders({ raw }: FastifyRequest): void {
  if (raw.headers.host === undefined && raw.httpVersion === '1.1')
    throw new KvcError('INVALID_REQUEST', 'The header host is missing.');
  const names = raw.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  const twice = SINGLE.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (twice !== undefined) throw new KvcError('INVALID_REQUEST', `The header ${twice} stands twice.`);
}

/** Before the body, which nobody would read: without a key, too, and however large it is. */
function checkRoute({ is404 }: FastifyRequest): void {
  if (is404) throw new KvcError('NOT_FOUND', 'No such route.');
}

/** Before the body is read: what costs the router time comes after it. Probes do not wait. */
async function takeTurn(gate: TurnGate, { method, raw }: FastifyRequest): Promise<void> {
  if (method !== 'POST') return;
  await gate.enter(callerOf(raw).principal.tenant, () => raw.socket.destroyed);
  if (raw.socket.destroyed) throw new KvcError('ABORTED', 'The client went away.');
}

function takeBodies(fastify: FastifyInstance, settings: Settings): void {
  const parser = new JsonParser(settings.bodyTimeoutMs);
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('application/json', async ({ raw }: FastifyRequest) => {
    const data = new InlineData();
    const text = data.take(await readBody(raw, settings));
    keepInlineData(raw, data);
    return parser.parse(text);
  });
  fastify.addHook('onClose', () => parser.dispose());
}

/**
 * Pages of these origins may ask from a browser; a preflight carries no key, so it is answered before keys are asked
 * for.
 */
async function shareWith(fastify: FastifyInstance, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return;
  await fastify.register(cors, {
    origin: origins.includes('*') ? '*' : [...origins],
    methods: ['GET', 'HEAD', 'POST'],
    exposedHeaders: ['x-request-id', 'retry-after', 'retry-after-ms', ...RECEIPT_HEADERS],
    maxAge: PREFLIGHT_SECONDS,
  });
}

/** The application, ready to listen. */
export async function createApp(environment: Environment): Promise<NestFastifyApplication> {
  const { settings, logger } = environment;
  const routes = new Routes();
  const module = AppModule.with(environment, routes);
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter(environment, routes), {
    logger: new NestLogger(logger),
    // Ours is the only parser wanted.
    bodyParser: false,
  });
  const fastify = app.getHttpAdapter().getInstance();
  takeBodies(fastify, settings);
  await shareWith(fastify, settings.corsOrigins);
  const gate = new TurnGate(settings.queueWaitMs);
  const inflight = app.get(Inflight);
  const checkKey = keyCheck(settings);
  const logAccess = accessLog(logger);
  fastify.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    // who keeps a connection should ask another router next time
    if (inflight.draining) reply.header('connection', 'close');
    logAccess(reply);
    checkHeaders(request);
    checkRoute(request);
    refuseForeignPage(request.method, request.headers, settings.corsOrigins);
    await checkKey(request);
    await takeTurn(gate, request);
  });
  serveOpenApi(app);
  await serveConsoleAssets(fastify, settings);
  return app;
}

function cannotListen(host: string, port: number, cause: NodeJS.ErrnoException): KvcError {
  const what = `--host, --port: cannot listen on ${host}, port ${port} (${cause.code})`;
  const advice = ADVICE[cause.code ?? ''] ?? 'choose an address of this machine';
  return new KvcError('CONFIG_INVALID', `${what}: ${advice}`, { cause });
}

const ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process has it; end that one, or choose another port',
  EACCES: 'this user may not; choose a port above 1023',
};

/** Listens; resolves to the URL, with the port that was taken. Rejects with `CONFIG_INVALID` where it may not. */
export async function listen(app: NestFastifyApplication, host: string, port: number): Promise<string> {
  await app.init();
  // Nest's own `listen` logs a fault before it rejects
  const fastify = app.getHttpAdapter().getInstance();
  await fastify.listen({ port, host }).catch((cause: unknown) => {
    throw cannotListen(host, port, cause as NodeJS.ErrnoException);
  });
  const server = app.getHttpServer();
  if (!server.listening) await once(server, 'listening');
  const { port: taken } = server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${taken}`;
}
