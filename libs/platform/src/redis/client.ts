import { KvcError } from '@kvcapsule/contracts';
import { Redis } from 'ioredis';

import { defineScripts, type LedgerScripts } from './scripts.js';

/** The longest that one command may take, and the longest that a verb waits for a lost connection to return. */
const COMMAND_TIMEOUT_MS = 1_500;
const MAX_RECONNECT_DELAY_MS = 500;

export type RedisClient = Redis & LedgerScripts;

/**
 * Connects. Nothing that uses the client hangs: commands are not queued while the connection is away, are not
 * sent again behind the caller's back, and time out. Reconnecting goes on until `quit` or `disconnect`.
 * Rejects with `LEDGER_UNAVAILABLE` when the first connection fails.
 */
export async function createRedisClient(url: string): Promise<RedisClient> {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: COMMAND_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: (attempt) => Math.min(50 * attempt, MAX_RECONNECT_DELAY_MS),
    // After a failover the open connection leads to a replica, which refuses writes for ever.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
  // Each failed command reports its own error; without a listener a lost connection would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    client.disconnect();
    throw unavailable(error);
  }
  return defineScripts(client);
}

/**
 * Runs one idempotent verb. Where the connection was lost, waits a moment for it and sends the verb once more.
 * Whatever Redis or the connection reports comes out as `LEDGER_UNAVAILABLE`.
 */
export async function runVerb<T>(client: RedisClient, verb: () => Promise<T>): Promise<T> {
  try {
    if (client.status !== 'ready') {
      await waitUntilReady(client);
    }
    return await verb().catch(async (error: unknown) => {
      if (client.status === 'ready') {
        throw error;
      }
      await waitUntilReady(client);
      return verb();
    });
  } catch (error) {
    throw error instanceof KvcError ? error : unavailable(error);
  }
}

async function waitUntilReady(client: RedisClient): Promise<void> {
  if (client.status === 'end') {
    throw new Error('the connection is closed');
  }
  await new Promise<void>((resolve, reject) => {
    const done = (): void => {
      clearTimeout(timer);
      client.off('ready', onReady);
    };
    const onReady = (): void => {
      done();
      resolve();
    };
    const timer = setTimeout(() => {
      done();
      reject(new Error('the connection is lost'));
    }, COMMAND_TIMEOUT_MS);
    client.on('ready', onReady);
  });
}

function unavailable(cause: unknown): KvcError {
  return new KvcError('LEDGER_UNAVAILABLE', 'Redis does not answer as it should', {
    cause,
    retryAfterMs: 1_000,
  });
}
