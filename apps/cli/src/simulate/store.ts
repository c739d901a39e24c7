import { createRedisClient, type RedisClient } from '@kvcapsule/platform/redis';
import { startRedis } from '@kvcapsule/platform/redis-server';
import { redisSettingsOf } from '../redis-settings.js';

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
    const client = await createRedisClient(
      url === undefined ? (server?.url ?? '') : redisSettingsOf(url, 'kvcapsule simulate'),
      warn,
    );
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
