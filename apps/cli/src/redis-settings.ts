import { parseConfig } from '@kvcapsule/platform/config';
import { redisFault, redisFields, type RedisSettings } from '@kvcapsule/platform/redis';
import { z } from 'zod';
import { CliError } from './failure.js';

/**
 * The Redis at the URL, to be spoken to as `KVCAPSULE_REDIS_*` of the environment say.
 *
 * @param name of the command, for faults
 * @throws KvcError or CliError that names the setting at fault
 */
export function redisSettingsOf(url: string, name: string, env = process.env): RedisSettings {
  const settings = parseConfig({
    schema: z.object(redisFields),
    argv: ['--redis', url],
    env,
    name,
  });
  const fault = redisFault(settings);
  if (fault) throw new CliError(fault.message);
  return settings;
}

/** How a Redis elsewhere is spoken to is not how the private one of `up` is. */
export function withoutRedis(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('KVCAPSULE_REDIS_')));
}
