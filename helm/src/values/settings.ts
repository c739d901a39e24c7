import { z } from 'zod';

/** Names of settings that the chart itself sets, since they follow from other values. */
const ROUTER_OWNED = [
  ...[
    'host',
    'port',
    'advertise',
    'routerId',
    'model',
    'servedModelName',
    'models',
    'apiKeys',
    'adminApiKeys',
    'tenants',
  ],
  ...['auth', 'drainMs'],
];
const WORKER_OWNED = ['id', 'listen', 'advertise', 'model', 'metricsHost', 'metricsPort', 'drainTimeoutMs'];

const isOwned = (owned: readonly string[], key: string) => owned.includes(key) || key.startsWith('redis');

/**
 * The settings of a part as its own schema has them, without those that the chart sets: their names, descriptions and
 * bounds are the part's, so that a setting that it gains is one of the chart's, too.
 */
function settingsOf(part: z.ZodObject, owned: readonly string[], description: string) {
  const entries = Object.entries(part.shape).filter(([key]) => !isOwned(owned, key));
  return z.strictObject(Object.fromEntries(entries)).partial().meta({ description });
}

export const routerSettings = (schema: z.ZodObject) =>
  settingsOf(
    schema,
    ROUTER_OWNED,
    'Settings of the router, each with the default of `kvcapsule serve router`',
  );

export const workerSettings = (schema: z.ZodObject) =>
  settingsOf(schema, WORKER_OWNED, 'Settings of workers, each with the default of `kvcapsule serve worker`');
