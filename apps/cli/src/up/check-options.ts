import { apiKey } from '@kvcapsule/platform/config';
import { redisUrl } from '@kvcapsule/platform/redis';
import type { z } from 'zod';
import { CliError } from '../failure.js';
import type { UpOptions } from './options.js';
import { assertListens } from './ports.js';
import { prometheusProgram } from './prometheus.js';

type FromEnvironment = (option: keyof UpOptions) => boolean;

/**
 * What the parts would refuse under their own names, told in the words of the command line before any part starts.
 * Values of secrets are never shown.
 *
 * @param fromEnvironment whether an option's value comes from its variable
 * @throws CliError for the first one at fault
 */
export async function checkOptions(options: UpOptions, fromEnvironment: FromEnvironment): Promise<void> {
  const named = (option: keyof UpOptions, flag: string, variable: string): string =>
    fromEnvironment(option) ? variable : flag;
  if (options.redis !== undefined)
    check(redisUrl, options.redis, named('redis', '--redis', 'KVCAPSULE_REDIS'));
  for (const key of options.apiKey ?? []) check(apiKey, key, '--api-key');
  if (options.observe) prometheusProgram();
  const host = named('host', '--host', 'KVCAPSULE_HOST');
  const port = named('port', '--port', 'KVCAPSULE_PORT');
  await assertListens(options.host, options.port, { host, port });
}

function check(schema: z.ZodType, value: string, name: string): void {
  const issue = schema.safeParse(value).error?.issues[0];
  if (issue !== undefined) throw new CliError(`${name}: ${issue.message}`);
}
