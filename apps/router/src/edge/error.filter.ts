import { asKvcError, type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import { errorBody } from '@kvcapsule/contracts/openai';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { ModelCatalogue } from '../catalogue/model-catalogue.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { noteFault } from './http/access-log.js';
import { answerAndClose } from './http/linger.js';
import { errorHeaders } from './http/refuse.js';
import { Routes } from './http/routes.js';

/** With these the rest of the body is not worth reading. */
const HANGS_UP: readonly ErrorCode[] = ['REQUEST_TIMEOUT'];

/** Everything that goes wrong before an answer has begun leaves here, in OpenAI's shape. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  readonly #logger = new Logger('Errors');

  constructor(
    private readonly telemetry: Telemetry,
    private readonly routes: Routes,
    private readonly catalogue: ModelCatalogue,
  ) {}

  catch(fault: unknown, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const { error, allow } = this.#refusal(fault, reply);
    noteFault(reply, error.code);
    if (error.status >= 500) this.#log(error, reply.request.id);
    if (reply.request.routeOptions.url === '/v1/chat/completions')
      this.telemetry.ended(this.#modelOf(reply.request.body), error.status, error);
    if (reply.sent || reply.raw.destroyed) return;
    if (error.code === 'ABORTED') return void reply.hijack().raw.destroy();
    reply.headers(errorHeaders(error));
    if (allow !== undefined) reply.header('allow', allow);
    reply.type('application/json; charset=utf-8');
    const isCut = !reply.request.raw.complete;
    if (isCut && !HANGS_UP.includes(error.code)) {
      const body = JSON.stringify(errorBody(error));
      return answerAndClose(reply.hijack().raw, error.status, reply.getHeaders(), body);
    }
    if (isCut) reply.header('connection', 'close');
    void reply.status(error.status).send(errorBody(error));
  }

  #refusal(fault: unknown, { request }: FastifyReply): { error: KvcError; allow?: string } {
    const error = toKvcError(fault);
    // a route that says itself what it has not found knows best
    const isRouteless = error.code === 'NOT_FOUND' && (request.is404 || error !== fault);
    return isRouteless ? this.routes.refusal(request.url, request.method) : { error };
  }

  /** The served model that a body names, whatever else is wrong with it; a body that was not read names none. */
  #modelOf(body: unknown): string | undefined {
    if (typeof body !== 'object' || body === null) return undefined;
    const { model } = body as { readonly model?: unknown };
    return model == null || typeof model === 'string' ? this.catalogue.find(model)?.name : undefined;
  }

  /** The catalogue's own faults say all in code and message; only the unforeseen ones need their stack. */
  #log(error: KvcError, requestId: string): void {
    const { stack } = error.cause instanceof Error ? error.cause : {};
    if (error.code === 'INTERNAL' && stack !== undefined)
      this.#logger.error({ requestId, stack }, error.message);
    else this.#logger.warn({ requestId, code: error.code }, error.message);
  }
}

/** Whatever was thrown, as an error that may be shown: texts of others can hold what the client sent. */
export function toKvcError(fault: unknown): KvcError {
  if (fault instanceof HttpException && fault.getStatus() === 404)
    return new KvcError('NOT_FOUND', 'No such route.');
  const { code } = (fault ?? {}) as { code?: unknown };
  if (typeof code === 'string' && code.startsWith('FST_')) {
    const known = fastifyError(code);
    if (known) return known;
  }
  if (isClients(fault))
    return new KvcError('INVALID_REQUEST', 'A header of the request cannot be met.', { cause: fault });
  return asKvcError(fault, 'INTERNAL', 'The server met a fault of its own.');
}

/** What libraries of HTTP find wrong with a request, such as a range beyond a file's end, they mark so. */
function isClients(fault: unknown): boolean {
  const { expose, status } = (fault ?? {}) as { readonly expose?: unknown; readonly status?: unknown };
  return expose === true && typeof status === 'number' && status >= 400 && status < 500;
}

function fastifyError(code: string): KvcError | undefined {
  switch (code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_INVALID_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new KvcError('UNSUPPORTED_MEDIA_TYPE', 'The body must be application/json.');
    // a path that leads out of the folder of a page's files
    case 'FST_STATIC_FORBIDDEN_PATH':
      return new KvcError('NOT_FOUND', 'No such route.');
    default:
      return undefined;
  }
}
