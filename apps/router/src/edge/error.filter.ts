import { KvcError } from '@kvcapsule/contracts/errors';
import { errorBody } from '@kvcapsule/contracts/openai';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Telemetry } from '../operations/telemetry.service.js';

const DEFAULT_RETRY_AFTER_MS = 1_000;

/** Everything that goes wrong before an answer has begun leaves here, in OpenAI's shape. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  readonly #logger = new Logger('Errors');

  constructor(private readonly telemetry: Telemetry) {}

  catch(fault: unknown, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const error = toKvcError(fault);
    if (error.status >= 500) this.#log(error);
    if (reply.request.routeOptions.url === '/v1/chat/completions') this.telemetry.ended(error.status, error);
    if (reply.sent || reply.raw.destroyed) return;
    for (const [name, value] of Object.entries(retryHeaders(error))) reply.header(name, value);
    if (error.code === 'INVALID_API_KEY') reply.header('www-authenticate', 'Bearer');
    if (error.code === 'REQUEST_TOO_LARGE') drain(reply);
    void reply.status(error.status).type('application/json; charset=utf-8').send(errorBody(error));
  }

  /** The catalogue's own faults say all in code and message; only the unforeseen ones need their stack. */
  #log(error: KvcError): void {
    if (error.code === 'INTERNAL' && error.cause instanceof Error) this.#logger.error(error.cause.stack);
    else this.#logger.warn({ code: error.code }, error.message);
  }
}

/** Whatever was thrown, as an error that may be shown: texts of others can hold what the client sent. */
export function toKvcError(fault: unknown): KvcError {
  if (fault instanceof KvcError) return fault;
  if (fault instanceof HttpException && fault.getStatus() === 404)
    return new KvcError('NOT_FOUND', 'No such route.');
  const { code, statusCode } = (fault ?? {}) as { code?: unknown; statusCode?: unknown };
  if (typeof code === 'string' && code.startsWith('FST_')) {
    const known = fastifyError(code);
    if (known) return known;
  }
  if (fault instanceof SyntaxError && statusCode === 400) return invalidJson();
  return new KvcError('INTERNAL', 'The server met a fault of its own.', { cause: fault });
}

const invalidJson = () => new KvcError('INVALID_JSON', 'The body is not valid JSON.');

function fastifyError(code: string): KvcError | undefined {
  switch (code) {
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return invalidJson();
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_INVALID_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new KvcError('UNSUPPORTED_MEDIA_TYPE', 'The body must be application/json.');
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new KvcError('REQUEST_TOO_LARGE', 'The body is larger than this server takes.');
    default:
      return undefined;
  }
}

/**
 * Reads the rest of the body and throws it away, no longer than the server's request timeout. Closing at once,
 * as Fastify would, resets the connection of a client that still writes: it would never see the answer.
 */
function drain(reply: FastifyReply): void {
  reply.removeHeader('connection');
  reply.request.raw.resume();
}

/** Clients that wait wait as long as they are told; without a word they guess. */
function retryHeaders(error: KvcError): Record<string, string> {
  const mayRetry = error.status === 429 || error.status === 503;
  const retryAfterMs = error.retryAfterMs ?? (mayRetry ? DEFAULT_RETRY_AFTER_MS : undefined);
  if (retryAfterMs === undefined) return {};
  return { 'retry-after': String(Math.ceil(retryAfterMs / 1_000)), 'retry-after-ms': String(retryAfterMs) };
}
