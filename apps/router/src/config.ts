import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { POLICY_NAMES, SCORER_NAMES, type Weights } from '@kvcapsule/domain/placement';
import {
  apiKey,
  durationMs,
  isHost,
  parseConfig,
  reachableAddress,
  urlHost,
} from '@kvcapsule/platform/config';
import { redisFault, redisFields, redisSettings } from '@kvcapsule/platform/redis';
import { tracingSettings } from '@kvcapsule/platform/tracing';
import { z } from 'zod';
import { folderSettings, modelConflicts, readModels } from './models-file.js';
import type { ModelSettings, Settings } from './settings.js';
import { readTenants } from './tenants-file.js';

/** Where the console is built, beside the router. */
const CONSOLE_FOLDER = fileURLToPath(new URL('../../console/dist', import.meta.url));
const MIB = 1024 * 1024;
const QUEUE_WAIT_MS = 30_000;
const STALL_MS = 30_000;
/** Proxies commonly end a connection that is silent for 60 s; what the queue refuses before has a status of its own. */
const KEEP_ALIVE_MS = 45_000;
const WINDOW_BYTES = 4 * MIB;

const ORIGIN = /^https?:\/\/[^/?#@\s]+$/;

/** As `load=0.5`. */
const WEIGHT = new RegExp(`^(${SCORER_NAMES.join('|')})=[^=]+$`);
/** A hundred thousand is as good as all. */
const AMOUNT = /=\d{1,5}(\.\d{1,6})?$/;

const placementWeight = z
  .string()
  .regex(WEIGHT, {
    error: `not NAME=NUMBER with a name of ${SCORER_NAMES.join(', ')}`,
    abort: true,
  })
  .regex(AMOUNT, 'a weight is a number from 0 to 99999, with at most 6 decimals');

const isLoopback = (host: string) =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** Every setting of a router; flags and variables are named after the fields. */
export const routerConfigSchema = z
  .object({
    host: z
      .string()
      .refine(isHost, 'neither an address nor a name of a host')
      .default('127.0.0.1')
      .describe('Address to listen on'),
    port: z.int().min(0).max(65_535).default(8_000).describe('Port to listen on; 0 takes a free one'),
    advertise: reachableAddress()
      .optional()
      .describe(
        'host:port that Prometheus is told to scrape it at, where that is not the one listened on; by default the name of the machine where it listens on all addresses',
      ),
    routerProcesses: z
      .int()
      .min(1)
      .max(64)
      .default(1)
      .describe('Processes behind the one port, each on a core of its own'),
    routerId: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,48}$/, 'not 1 to 48 letters, digits, dots, dashes or underscores')
      .optional()
      .describe('What other parts know this router by; made up by default'),
    ...redisFields,
    model: z.array(z.string().min(1)).default([]).meta({
      verbatim: true,
      description:
        'Folder of a model that workers serve: tokenizer, template, configuration; may be repeated',
    }),
    servedModelName: z.array(z.string().min(1)).default([]).meta({
      verbatim: true,
      description: 'Model id for clients, once for each --model in their order; the folder’s name by default',
    }),
    models: z
      .string()
      .min(1)
      .optional()
      .describe('JSON file of models: their names, aliases and folders, the default one'),
    apiKeys: z
      .array(apiKey)
      .default([])
      .meta({ secret: true, flag: 'api-key', description: 'Key that clients send as bearer token' }),
    adminApiKeys: z.array(apiKey).default([]).meta({
      secret: true,
      flag: 'admin-api-key',
      description: 'Key that may also ask for explanations of placement',
    }),
    tenants: z.string().min(1).optional().describe('JSON file of tenants: their keys, weights and limits'),
    auth: z.boolean().default(true).describe('Lets other addresses than loopback be served without keys'),
    console: z.boolean().default(true).describe('Serves the web console to browsers at /'),
    corsOrigins: z
      .array(
        z.union([z.literal('*'), z.string().regex(ORIGIN, 'not an origin, such as https://example.org')]),
      )
      .default([])
      .meta({
        flag: 'cors-origin',
        description: 'Origin whose pages may use the server from a browser; * for all',
      }),
    allowImageHosts: z.array(urlHost()).default([]).meta({
      flag: 'allow-image-host',
      description: 'Host whose pictures are fetched although it is not public',
    }),
    maxBodyMib: z.int().min(1).max(1_024).default(64).describe('Largest request body'),
    headTimeoutMs: durationMs().default(15_000).describe('Longest time the head of a request may take'),
    bodyTimeoutMs: durationMs().default(60_000).describe('Longest time the body of a request may take'),
    requestTimeoutMs: durationMs().default(600_000).describe('Longest time an answer may take'),
    workerStallMs: durationMs()
      .default(300_000)
      .describe('Longest time in which a worker with requests may finish no step; then they go elsewhere'),
    queueSize: z
      .int()
      .min(1)
      .max(100_000)
      .default(256)
      .describe('Requests of one model that may wait for KV pages'),
    queueMib: z.int().min(1).default(512).describe('Memory of prompts and pictures that wait for KV pages'),
    placementPolicy: z
      .enum(POLICY_NAMES)
      .default('cost-aware')
      .describe('How a worker is chosen for a request'),
    placementWeights: z
      .array(placementWeight)
      .default([])
      .describe('How much a part of a request’s cost counts, as load=2; 1 where nothing is said'),
    indexNames: z
      .int()
      .min(1_000)
      .max(100_000_000)
      .default(2_000_000)
      .describe('Blocks and pictures in workers’ caches that are remembered for placement, 40 bytes each'),
    metricsCompat: z
      .enum(['vllm'])
      .optional()
      .describe('Adds metrics under another server’s names, so that its dashboards show data: vllm'),
    drainMs: durationMs(0)
      .default(600_000)
      .describe('How long answers may go on after SIGTERM; by default as long as one may take'),
  })
  .superRefine((config, context) => {
    const { host, apiKeys, adminApiKeys, tenants, auth } = config;
    const hasKeys = apiKeys.length > 0 || adminApiKeys.length > 0 || tenants !== undefined;
    for (const fault of [modelFault(config), weightFault(config), adminFault(config), redisFault(config)])
      if (fault) context.addIssue({ code: 'custom', ...fault });
    if (isLoopback(host) || !isHost(host) || hasKeys || !auth) return;
    const message =
      'anyone who reaches this address could use the server: set --api-key or --tenants, or --no-auth to allow it';
    context.addIssue({ code: 'custom', path: ['host'], message });
  });

function weightFault({ placementWeights }: { placementWeights: readonly string[] }) {
  const names = placementWeights.map((entry) => entry.split('=', 1)[0] ?? '');
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return undefined;
  return { path: ['placementWeights'], message: `the weight of ${twice} is given twice` };
}

function weightsOf(entries: readonly string[]): Weights {
  return Object.fromEntries(
    entries.map((entry) => {
      const [name = '', weight] = entry.split('=');
      return [name, Number(weight)];
    }),
  );
}

function adminFault({ apiKeys, adminApiKeys }: { apiKeys: string[]; adminApiKeys: string[] }) {
  if (!adminApiKeys.some((key) => apiKeys.includes(key))) return undefined;
  return { path: ['adminApiKeys'], message: 'a key is also given as --api-key' };
}

/** Those of `--model`. */
function namedModels({ model, servedModelName }: ModelFields): ModelSettings[] {
  return model.map((dir, index) => {
    const folder = folderSettings(dir);
    const name = servedModelName[index] ?? folder.workerModelId;
    return { name, aliases: [], isDefault: false, folders: [folder] };
  });
}

/** Those of `--model`, and then those of the file. Throws `CONFIG_INVALID` where they do not go together. */
function modelsOf(fields: ModelFields): readonly ModelSettings[] {
  const named = namedModels(fields);
  return fields.models === undefined ? named : [...named, ...readModels(resolve(fields.models), named)];
}

interface ModelFields {
  readonly model: readonly string[];
  readonly models?: string | undefined;
  readonly servedModelName: readonly string[];
}

function modelFault({ model, models, servedModelName }: ModelFields) {
  if (model.length === 0 && models === undefined)
    return { path: ['model'], message: 'name a model, or a file with --models' };
  if (servedModelName.length > 0 && servedModelName.length !== model.length) {
    const message = `give one for each --model, or none: there are ${model.length} models`;
    return { path: ['servedModelName'], message };
  }
  const [conflict] = modelConflicts(namedModels({ model, servedModelName }));
  if (!conflict) return undefined;
  const isName = conflict.at === 'name' && servedModelName.length > 0;
  return { path: [isName ? 'servedModelName' : 'model'], message: conflict.what };
}

/** Flags win over environment over file; throws `CONFIG_INVALID` naming every setting at fault. */
export function readSettings(argv: readonly string[], env: NodeJS.ProcessEnv): Settings {
  const config = parseConfig({ schema: routerConfigSchema, argv, env, name: 'kvcapsule serve router' });
  const { host, port, apiKeys, headTimeoutMs, bodyTimeoutMs, requestTimeoutMs, drainMs } = config;
  return {
    host,
    port,
    advertise: config.advertise,
    routerId: config.routerId,
    processes: config.routerProcesses,
    redis: redisSettings(config),
    models: modelsOf(config),
    apiKeys,
    adminApiKeys: config.adminApiKeys,
    tenants: config.tenants === undefined ? [] : readTenants(resolve(config.tenants)),
    corsOrigins: config.corsOrigins,
    consoleFolder: config.console ? CONSOLE_FOLDER : undefined,
    allowedImageHosts: config.allowImageHosts,
    maxBodyBytes: config.maxBodyMib * MIB,
    headTimeoutMs,
    bodyTimeoutMs,
    requestTimeoutMs,
    workerStallMs: config.workerStallMs,
    stallMs: STALL_MS,
    keepAliveMs: KEEP_ALIVE_MS,
    windowBytes: WINDOW_BYTES,
    placementPolicy: config.placementPolicy,
    placementWeights: weightsOf(config.placementWeights),
    queueEntries: config.queueSize,
    queueBytes: config.queueMib * MIB,
    queueWaitMs: QUEUE_WAIT_MS,
    indexNames: config.indexNames,
    metricsCompat: config.metricsCompat,
    tracing: tracingSettings(env),
    drainMs,
  };
}
