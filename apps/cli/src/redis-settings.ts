import { parseConfig } from '@kvcapsule/platform/config';
import { redisFault, redisFields, type RedisSettings } from '@kvcapsule/platform/redis';
import { z } from 'zod';
import { CliError } from './failure.js';

/**
 * The Redis at the URL, to be spoken to as the environment's `KVCAPSULE_REDIS_*` say.
 *
 * @param name of the command, for faults
 * @throws KvcError or CliError that names the setting at fault
 */
export function redisSettingsOf(url: string, name: string): RedisSettings {
  const settings = parseConfig({
    schema: z.object(redisFields),
    argv: ['--redis', url],
    env: process.env,
    name,
  });
  const fault = redisFault(settings);
  if (fault) throw new CliError(fault.message);
  return settings;
}
