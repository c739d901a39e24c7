import { destination, pino, type DestinationStream, type Logger } from 'pino';

export type { Logger } from 'pino';

/** What may hold a secret or a user's content, wherever a log line carries it (top level and one below). */
const PRIVATE_FIELDS = [
  'authorization',
  'cookie',
  'apiKey',
  'apiKeys',
  'password',
  'redisUrl',
  'url',
  'messages',
  'prompt',
  'content',
  'text',
  'body',
];

const REDACT = [
  ...PRIVATE_FIELDS.flatMap((field) => [field, `*.${field}`]),
  'req.headers.authorization',
  'req.headers.cookie',
];

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** What cannot be written is lost: a full disk or a reader that has gone is no reason to stop serving. */
function stderrLines(): DestinationStream {
  const lines = destination({ dest: 2, sync: true });
  lines.on('error', () => undefined);
  return lines;
}

/**
 * JSON lines to stderr, written at once so that none is lost when the process ends. Fields that may hold
 * secrets or a user's content come out as `[redacted]`.
 */
export function createLogger(
  options: { readonly name: string; readonly level: (typeof LOG_LEVELS)[number] },
  stream: DestinationStream = stderrLines(),
): Logger {
  return pino(
    { name: options.name, level: options.level, redact: { paths: REDACT, censor: '[redacted]' } },
    stream,
  );
}

/** Node's warnings about this process become lines of its log; Node prints them as plain text. */
export function logWarnings(logger: { warn(fields: object, message: string): void }): void {
  // the one that prints them
  process.removeAllListeners('warning');
  // Not as `err`: a warning may carry a whole socket.
  process.on('warning', ({ name, message, stack }) => {
    logger.warn({ warning: name, stack }, message);
  });
}

/**
 * A reader of stdout or stderr may leave, or their disk may be full; without a listener that ends the process.
 *
 * @param onGone called when a reader has left; by default the process goes on without it
 */
export function outliveClosedPipes(onGone: () => void = () => undefined): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'EPIPE') onGone();
    });
}
