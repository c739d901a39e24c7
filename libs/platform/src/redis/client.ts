import { setTimeout as sleep } from 'node:timers/promises';

import { KvcError } from '@kvcapsule/contracts';
import type { Redis } from 'ioredis';

import { adviceOn, adviceOnSilence } from './advice.js';
import { makeConnection, nodesOf, refusalOf, type RedisConnection } from './connection.js';
import type { KeyTypes } from './keys.js';
import { defineScripts, type RedisClient } from './scripts.js';
import type { RedisSettings } from './settings.js';
import { checkStore } from './store-check.js';
import { parseRedisUrl, redisAddress, type RedisKind } from './url.js';

/** The longest that a verb waits for a lost connection to come back. */
const RETRY_WINDOW_MS = 1_000;
const RETRY_PAUSE_MS = 25;
/** The longest that a first connection may take: Sentinels are asked one after the other, data are loaded. */
const START_TIMEOUT_MS = 10_000;

/**
 * Connects to the Redis that the settings name: one server, a group behind Sentinels, or a Cluster. Rejects with
 * `LEDGER_UNAVAILABLE` when the first connection fails, and with `CONFIG_INVALID` when the store must not be used as
 * it is; both name hosts and ports and what to do.
 *
 * @param store settings, or a URL where nothing else is set
 * @param warn takes a line about what could not be checked
 */
export async function createRedisClient(
  store: RedisSettings | string,
  warn: (line: string) => void = () => undefined,
): Promise<RedisClient> {
  const settings = typeof store === 'string' ? { redis: store } : store;
  const told = redisAddress(settings.redis);
  const { kind, tls } = parseRedisUrl(settings.redis);
  const client = defineScripts(makeConnection(settings));
  try {
    await connect(client, kind);
    await checkStore(client, kind, told, warn);
  } catch (error) {
    client.disconnect();
    throw error instanceof KvcError ? error : unreachable(told, tls, error);
  }
  return client;
}

/** What libraries say when all of several servers have failed, each for a reason of its own. */
const SUMMARY = /sentinels are unreachable|slots cache|startup nodes/;

/** Rejects with the first fault: `connect` itself tells only that the connection is closed, the events before it why. */
async function connect(client: RedisConnection, kind: RedisKind): Promise<void> {
  // Each failed command reports its own error; without a listener a lost connection would end the process.
  const faults: { error?: Error; node?: Error } = {};
  const failed = new Promise<never>((_, reject) => {
    client.on('error', (error: Error) => {
      faults.error ??= error;
      reject(error);
    });
  });
  for (const event of ['node error', 'sentinelError'])
    client.on(event, (error: Error) => (faults.node ??= error));
  const ended = new AbortController();
  const late = sleep(START_TIMEOUT_MS, undefined, { signal: ended.signal }).then(() => {
    throw new Error(`${kind === 'cluster' ? 'CLUSTERDOWN' : 'LOADING'}, or nothing said for too long`);
  });
  for (const end of [late, failed]) end.catch(() => undefined);
  try {
    // A Cluster that is not whole yet is asked again, which its `connect` says nothing about.
    const ready = new Promise((resolve) => client.once('ready', resolve));
    await Promise.race([client.connect(), ready, late, failed]);
  } catch (error) {
    const first = faults.error ?? error;
    throw faults.node !== undefined && SUMMARY.test(wordsOf(first).message) ? faults.node : first;
  } finally {
    ended.abort();
  }
}

/** Connections whose writes wait for the end of the turn. */
const held = new WeakSet<Redis['stream']>();

/** What is sent in one turn of the event loop leaves in one write: each by itself costs a twentieth of a request. */
function holdWrites(client: RedisClient): void {
  for (const { stream } of nodesOf(client)) {
    // there is none before the first connection
    if (!(stream as Redis['stream'] | undefined) || held.has(stream)) continue;
    held.add(stream);
    stream.cork();
    setImmediate(() => {
      held.delete(stream);
      stream.uncork();
    });
  }
}

/**
 * Runs one idempotent verb. Where the connection is lost, or the store changes its master, the verb is sent again
 * until that is over or a second has passed. Whatever Redis or the connection reports comes out as
 * `LEDGER_UNAVAILABLE`.
 *
 * @param types of the keys that the verb works on: one that holds something else is named
 */
export async function runVerb<T>(client: RedisClient, types: KeyTypes, verb: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + RETRY_WINDOW_MS;
  for (;;) {
    holdWrites(client);
    try {
      return await verb();
    } catch (error) {
      const refusal = mayPass(error) ? refusalOf(client) : undefined;
      if (refusal !== undefined) throw unavailable(refusal);
      if (client.status === 'end' || !mayPass(error) || performance.now() > giveUpAt) {
        throw isWrongType(error) ? await foreignKey(client, types, error) : unavailable(error);
      }
    }
    await sleep(RETRY_PAUSE_MS);
  }
}

/** Answers of a store that elects a master, moves keys or has just started. */
const PASSING = /^(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK) /;

/** A connection that is lost, and no command that may still be on its way. */
function mayPass(error: unknown): boolean {
  if (!(error instanceof Error) || error.message === 'Command timed out') return false;
  return error.name !== 'ReplyError' || PASSING.test(error.message);
}

/** Whether a key, or the cause of a verb's error, holds another type than a command takes. */
export function isWrongType(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return error.message.includes('WRONGTYPE') || isWrongType(error.cause);
}

/** Redis does not say which key it was, so all of them are looked at. */
async function foreignKey(client: RedisClient, types: KeyTypes, error: unknown): Promise<KvcError> {
  const kinds = await Promise.all(
    Object.entries(types()).map(async ([key, type]) => ({ key, type, found: await client.type(key) })),
  ).catch(() => []);
  const foreign = kinds.find(({ type, found }) => found !== type && found !== 'none');
  return foreign === undefined
    ? unavailable(error)
    : new KvcError(
        'LEDGER_UNAVAILABLE',
        `Redis holds a ${foreign.found} at ${foreign.key} where a ${foreign.type} belongs, which somebody else has ` +
          'written: the next heartbeat of the worker replaces it',
        { cause: wordsOf(error), retryAfterMs: 2_000 },
      );
}

function unreachable(told: string, tls: boolean, fault: unknown): KvcError {
  const cause = wordsOf(fault);
  const advice =
    adviceOn(cause.message) ??
    adviceOnSilence(cause.message, tls) ??
    'start it there, or name another with --redis';
  return new KvcError(
    'LEDGER_UNAVAILABLE',
    `Redis at ${told} does not answer as it should (${cause.message}): ${advice}.`,
    { cause },
  );
}

function unavailable(error: unknown): KvcError {
  const cause = wordsOf(error);
  const advice = adviceOn(cause.message);
  return new KvcError(
    'LEDGER_UNAVAILABLE',
    advice === undefined ? 'Redis does not answer in time' : `Redis does not answer as it should: ${advice}`,
    { cause, retryAfterMs: 1_000 },
  );
}

/**
 * Of an error only its message, on one line: ioredis' errors carry the command with its arguments, a password among
 * them, and OpenSSL's end in a line break.
 */
function wordsOf(error: unknown): Error {
  const words = error instanceof Error ? error.message.trim().replaceAll(/\s*\n\s*/g, ' ') : '';
  return new Error(words === '' ? 'unknown' : words);
}
