import type { IncomingMessage } from 'node:http';
import { type ErrorCode, ERRORS } from '@kvcapsule/contracts/errors';
import type { Logger } from '@kvcapsule/platform/logging';
import type { FastifyReply } from 'fastify';

const faults = new WeakMap<IncomingMessage, ErrorCode>();

/** What went wrong with a request, for its line in the log: an answer that has begun keeps its status. */
export function noteFault(reply: FastifyReply, code: ErrorCode): void {
  faults.set(reply.request.raw, code);
}

const traces = new WeakMap<IncomingMessage, string>();

/** The trace that a request is recorded in, for its line in the log. */
export function noteTrace(reply: FastifyReply, traceId: string): void {
  traces.set(reply.request.raw, traceId);
}

const isQuiet = (route: string | undefined) => route === '/metrics' || route?.startsWith('/health') === true;

/** What was answered; of a request whose client went before that, what its metrics count. */
function statusOf({ raw }: FastifyReply): number {
  return raw.headersSent ? raw.statusCode : ERRORS.ABORTED.status;
}

/**
 * Writes one line a request, at its end however it ended: id, method, route, status and time, and the code of what
 * went wrong. Nothing that a client wrote but its request id, so that nothing is looked for that must not be told:
 * that would take six times as long as the line.
 */
export function accessLog(logger: Logger): (reply: FastifyReply) => void {
  const lines = logger.child({}, { redact: [] });
  return (reply) => {
    const beganMs = performance.now();
    const { request, raw } = reply;
    const { method } = request;
    const route = request.routeOptions.url;
    if (isQuiet(route)) return;
    raw.once('close', () => {
      const code = faults.get(request.raw) ?? (raw.writableFinished ? undefined : 'ABORTED');
      const durationMs = Math.round(performance.now() - beganMs);
      lines.info(
        {
          requestId: request.id,
          traceId: traces.get(request.raw),
          method,
          route,
          status: statusOf(reply),
          code,
          durationMs,
        },
        raw.writableFinished ? 'request completed' : 'request broken off',
      );
    });
  };
}
