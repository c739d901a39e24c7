import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KvcError } from '@kvcapsule/contracts/errors';
import { errorBody } from '@kvcapsule/contracts/openai';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Logger } from 'nestjs-pino';
import { AppModule, type Environment } from './app.module.js';
import { keyCheck } from './edge/auth.js';
import { toKvcError } from './edge/error.filter.js';

/** A slow sender may not hold a connection for ever. */
const WHOLE_REQUEST_MS = 120_000;

/** A client's own id is kept when it is harmless to print. */
function requestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && /^[\w.-]{1,128}$/.test(given) ? given : `req-${randomUUID()}`;
}

/** Nest would turn Fastify's errors into its own and lose what they were. */
class Adapter extends FastifyAdapter {
  override mapException(fault: unknown): unknown {
    return toKvcError(fault);
  }
}

/** What Fastify finds wrong before it looks for a route, such as a path that cannot be decoded. */
function refuse(_fault: unknown, { id }: FastifyRequest, reply: FastifyReply): void {
  const error = new KvcError('INVALID_REQUEST', 'The request line is not valid.');
  void reply.header('x-request-id', id).status(error.status).send(errorBody(error));
}

function adapter(maxBodyBytes: number): FastifyAdapter {
  return new Adapter({
    frameworkErrors: refuse as never,
    bodyLimit: maxBodyBytes,
    genReqId: requestId,
    requestTimeout: WHOLE_REQUEST_MS,
    // After our own drain: otherwise a connection that never sent a request keeps close() waiting.
    forceCloseConnections: true,
  });
}

/** The application, ready to listen. */
export async function createApp(environment: Environment): Promise<NestFastifyApplication> {
  const { settings } = environment;
  const module = AppModule.with(environment);
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter(settings.maxBodyBytes), {
    bufferLogs: true,
    // Fastify's own JSON parser is the only one wanted.
    bodyParser: false,
  });
  app.useLogger(app.get(Logger));
  const fastify = app.getHttpAdapter().getInstance();
  fastify.removeContentTypeParser('text/plain');
  const checkKey = keyCheck(settings.apiKeys);
  fastify.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    await checkKey(request);
  });
  // A client that has closed its sending side may still wait for its answer.
  Object.assign(app.getHttpServer(), { httpAllowHalfOpen: true });
  const document = new DocumentBuilder()
    .setTitle('KVCapsule')
    .setDescription('Answers questions about pictures, in the shape of OpenAI’s chat completions.')
    .addBearerAuth()
    .build();
  SwaggerModule.setup('docs', app, SwaggerModule.createDocument(app, document));
  return app;
}

/** Listens; resolves to the URL, with the port that was taken. */
export async function listen(app: NestFastifyApplication, host: string, port: number): Promise<string> {
  await app.listen(port, host);
  const server = app.getHttpServer();
  if (!server.listening) await once(server, 'listening');
  const { port: taken } = server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${taken}`;
}
