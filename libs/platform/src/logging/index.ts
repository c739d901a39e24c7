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

/**
 * JSON lines to stderr, written at once so that none is lost when the process ends. Fields that may hold
 * secrets or a user's content come out as `[redacted]`.
 */
export function createLogger(
  options: { readonly name: string; readonly level: (typeof LOG_LEVELS)[number] },
  stream: DestinationStream = destination({ dest: 2, sync: true }),
): Logger {
  return pino(
    { name: options.name, level: options.level, redact: { paths: REDACT, censor: '[redacted]' } },
    stream,
  );
}
