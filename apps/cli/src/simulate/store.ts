import { parseConfig } from '@kvcapsule/platform/config';
import {
  createRedisClient,
  type RedisClient,
  redisFault,
  redisFields,
  type RedisSettings,
} from '@kvcapsule/platform/redis';
import { startRedis } from '@kvcapsule/platform/redis-server';
import { z } from 'zod';
import { CliError } from '../failure.js';

/** Where simulated workers register. */
export interface Store {
  readonly client: RedisClient;
  /** Of a private Redis, with its password. */
  readonly privateUrl: string | undefined;
  close(): Promise<void>;
}

/**
 * The Redis at the URL, spoken to as the environment's `KVCAPSULE_REDIS_*` say; without a URL one of its own.
 *
 * @throws KvcError or CliError that names the setting at fault; `LEDGER_UNAVAILABLE` where nothing answers
 */
export async function openStore(url: string | undefined, warn: (line: string) => void): Promise<Store> {
  const server = url === undefined ? await startRedis() : undefined;
  try {
    const client = await createRedisClient(url === undefined ? (server?.url ?? '') : settingsOf(url), warn);
    return {
      client,
      privateUrl: server?.url,
      close: async () => {
        client.disconnect();
        await server?.stop();
      },
    };
  } catch (error) {
    await server?.stop();
    throw error;
  }
}

function settingsOf(url: string): RedisSettings {
  const settings = parseConfig({
    schema: z.object(redisFields),
    argv: ['--redis', url],
    env: process.env,
    name: 'kvcapsule simulate',
  });
  const fault = redisFault(settings);
  if (fault) throw new CliError(fault.message);
  return settings;
}
