import { CODECS } from '@kvcapsule/engine';
import { type Command, Option } from 'commander';
import { resolve } from 'node:path';
import { wholeArgument } from '../numbers.js';
import { DEFAULT_MODEL_DIR } from '../paths.js';

export interface UpOptions {
  readonly port: number;
  readonly host: string;
  /** Of each model. */
  readonly workers: number;
  readonly routerProcesses: number;
  /** Absolute folders, one for each model. */
  readonly model: readonly string[];
  /** One for each model, in their order; absent: the environment's, or the folders' names. */
  readonly servedModelName?: readonly string[];
  readonly redis?: string;
  readonly apiKey?: readonly string[];
  /** False with --no-auth. */
  readonly auth: boolean;
  readonly codec?: string;
  readonly poolMib?: number;
  readonly allowImageHost?: readonly string[];
  readonly observe?: true;
}

const EXAMPLES = `
Examples:
  kvcapsule up                                      the demo model on http://127.0.0.1:8000
  kvcapsule up --port 9000 --workers 2              two workers behind one router
  kvcapsule up --host 0.0.0.0 --api-key KEY         open to the network, with a key
  kvcapsule up --model ./SmolVLM-256M --codec raw   another model, its KV as it is
  kvcapsule up --model ./one --model ./two          two models, each with a worker of its own
  kvcapsule up --observe                            with Prometheus, which asks routers and workers

Stop with Ctrl-C. Logs: a folder of each start under .kvcapsule/log`;

export const portOption = (): Option =>
  new Option('-p, --port <port>', 'where the API listens')
    .env('KVCAPSULE_PORT')
    .argParser(wholeArgument(0, 65_535))
    .default(8000);

export const hostOption = (): Option =>
  new Option('--host <address>', 'address to listen on; other than loopback needs a key or --no-auth')
    .env('KVCAPSULE_HOST')
    .default('127.0.0.1');

export function modelOption(env: NodeJS.ProcessEnv = process.env): Option {
  const models = modelsOf(env);
  return new Option(
    '-m, --model <folder>',
    'Hugging Face folder to serve; may be repeated (also: KVCAPSULE_MODEL, separated by commas)',
  )
    .argParser((folder: string, given: readonly string[]) => [
      ...(given === models ? [] : given),
      resolve(folder),
    ])
    .default(models, 'the demo model');
}

export const redisOption = (description: string): Option =>
  new Option('--redis <url>', description).env('KVCAPSULE_REDIS');

/** Adds the options of `up`; settings without a flag come from the environment (docs/guides/configuration.md). */
export function upOptions(command: Command, env: NodeJS.ProcessEnv = process.env): Command {
  return command
    .addOption(portOption())
    .addOption(hostOption())
    .addOption(
      new Option('-w, --workers <count>', 'engine processes of each model')
        .argParser(wholeArgument(1, 64))
        .default(1),
    )
    .addOption(
      new Option('--router-processes <count>', 'router processes behind the port, for more than one core')
        .env('KVCAPSULE_ROUTER_PROCESSES')
        .argParser(wholeArgument(1, 64))
        .default(1),
    )
    .addOption(modelOption(env))
    .addOption(
      new Option(
        '--served-model-name <id>',
        'what clients call a model, once for each --model (also: KVCAPSULE_SERVED_MODEL_NAME, separated by commas)',
      ).argParser((id: string, given: readonly string[] = []) => [...given, id]),
    )
    .addOption(
      redisOption('use this Redis, also a Cluster or behind Sentinels (default: a private one on loopback)'),
    )
    .option(
      '--api-key <key...>',
      'keys that clients must send (also: KVCAPSULE_API_KEYS, separated by commas)',
    )
    .option('--no-auth', 'listen without keys on an address that others reach')
    .addOption(new Option('--codec <codec>', 'how the KV of pictures is kept').choices([...CODECS]))
    .addOption(
      new Option('--pool-mib <mib>', 'KV pool of each worker').argParser(wholeArgument(1, 1_048_576)),
    )
    .option(
      '--allow-image-host <host...>',
      'hosts whose pictures may be fetched though their address is not public',
    )
    .option('--observe', 'run a private Prometheus with the rules and alerts of the dashboards, too')
    .addHelpText('after', EXAMPLES);
}

/** What is served where no flag says it. */
function modelsOf(env: NodeJS.ProcessEnv): readonly string[] {
  const named = (env['KVCAPSULE_MODEL'] ?? '').split(',').flatMap((folder) => folder.trim() || []);
  return named.length > 0 ? named.map((folder) => resolve(folder)) : [DEFAULT_MODEL_DIR];
}
