import { setTimeout as sleep } from 'node:timers/promises';

import { KvcError } from '@kvcapsule/contracts';
import { Redis } from 'ioredis';

import { defineScripts, type LedgerScripts } from './scripts.js';
import { redisAddress } from './url.js';

/** The longest that one command may take. */
const COMMAND_TIMEOUT_MS = 1_500;
/** The longest that a verb waits for a lost connection to come back. */
const RETRY_WINDOW_MS = 1_000;
const RETRY_PAUSE_MS = 25;
const MAX_RECONNECT_DELAY_MS = 500;

export type RedisClient = Redis & LedgerScripts;

/**
 * Connects. Nothing that uses the client hangs: commands are not queued while the connection is away, are not
 * sent again behind the caller's back, and time out. Reconnecting goes on until `quit` or `disconnect`.
 * Rejects with `LEDGER_UNAVAILABLE`, naming host and port, when the first connection fails.
 */
export async function createRedisClient(url: string): Promise<RedisClient> {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: COMMAND_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    // A host that is gone without a word leaves the connection half open: make a new one.
    socketTimeout: 2 * COMMAND_TIMEOUT_MS,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // Commands in flight when the connection closes are rejected then, not when they time out.
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt) => Math.min(50 * attempt, MAX_RECONNECT_DELAY_MS),
    // After a failover the open connection leads to a replica, which refuses writes for ever.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
  // Each failed command reports its own error; without a listener a lost connection would end the process.
  let fault: unknown;
  client.on('error', (error) => (fault = error));
  try {
    await client.connect();
  } catch (error) {
    client.disconnect();
    throw unreachable(url, fault ?? error);
  }
  return defineScripts(client);
}

/** Connections whose writes wait for the end of the turn. */
const held = new WeakSet<Redis['stream']>();

/** What is sent in one turn of the event loop leaves in one write: each by itself costs a twentieth of a request. */
function holdWrites({ stream }: RedisClient): void {
  // there is none before the first connection
  if (!(stream as Redis['stream'] | undefined) || held.has(stream)) return;
  held.add(stream);
  stream.cork();
  setImmediate(() => {
    held.delete(stream);
    stream.uncork();
  });
}

/**
 * Runs one idempotent verb. Where the connection is lost, the verb is sent again until the connection is back
 * or a second has passed. Whatever Redis or the connection reports comes out as `LEDGER_UNAVAILABLE`.
 */
export async function runVerb<T>(client: RedisClient, verb: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + RETRY_WINDOW_MS;
  for (;;) {
    holdWrites(client);
    try {
      return await verb();
    } catch (error) {
      if (client.status === 'end' || !isConnectionLoss(error) || performance.now() > giveUpAt) {
        throw unavailable(error);
      }
    }
    await sleep(RETRY_PAUSE_MS);
  }
}

/** Neither an answer of Redis nor a command that may still be on its way. */
function isConnectionLoss(error: unknown): boolean {
  return error instanceof Error && error.name !== 'ReplyError' && error.message !== 'Command timed out';
}

/** `connect` itself tells only that the connection is closed; the event before it tells why. */
function unreachable(url: string, fault: unknown): KvcError {
  const { cause } = unavailable(fault);
  const why = cause instanceof Error ? cause.message : 'unknown';
  return new KvcError(
    'LEDGER_UNAVAILABLE',
    `Redis at ${redisAddress(url)} does not answer as it should (${why}): start it there, or name another with --redis.`,
    { cause },
  );
}

/** Of the cause only its message: ioredis' errors carry the command with its arguments, a password among them. */
function unavailable(error: unknown): KvcError {
  const cause = new Error(error instanceof Error ? error.message : 'unknown');
  return new KvcError('LEDGER_UNAVAILABLE', 'Redis does not answer as it should', {
    cause,
    retryAfterMs: 1_000,
  });
}
