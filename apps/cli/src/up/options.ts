import { CODECS } from '@kvcapsule/engine';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { resolve } from 'node:path';
import { DEFAULT_MODEL_DIR } from '../paths.js';

export interface UpOptions {
  readonly port: number;
  readonly host: string;
  readonly workers: number;
  /** Absolute. */
  readonly model: string;
  /** Absent: the environment's, the file's, or the folder's name. */
  readonly servedModelName?: string;
  readonly redis?: string;
  readonly apiKey?: readonly string[];
  /** False with --no-auth. */
  readonly auth: boolean;
  readonly codec?: string;
  readonly poolMib?: number;
  readonly allowImageHost?: readonly string[];
}

const EXAMPLES = `
Examples:
  kvcapsule up                                      the demo model on http://127.0.0.1:8000
  kvcapsule up --port 9000 --workers 2              two workers behind one router
  kvcapsule up --host 0.0.0.0 --api-key KEY         open to the network, with a key
  kvcapsule up --model ./SmolVLM-256M --codec raw   another model, its KV as it is

Stop with Ctrl-C. Logs: a folder of each start under .kvcapsule/log`;

/** Adds the options of `up`; settings without a flag come from the environment (docs/guides/configuration.md). */
export function upOptions(command: Command): Command {
  return command
    .addOption(
      new Option('-p, --port <port>', 'where the API listens')
        .env('KVCAPSULE_PORT')
        .argParser(wholeNumber(0, 65_535))
        .default(8000),
    )
    .addOption(
      new Option('--host <address>', 'address to listen on; other than loopback needs a key or --no-auth')
        .env('KVCAPSULE_HOST')
        .default('127.0.0.1'),
    )
    .addOption(
      new Option('-w, --workers <count>', 'engine processes').argParser(wholeNumber(1, 64)).default(1),
    )
    .addOption(
      new Option('-m, --model <folder>', 'Hugging Face folder to serve')
        .env('KVCAPSULE_MODEL')
        .argParser((folder: string) => resolve(folder))
        .default(DEFAULT_MODEL_DIR, 'the demo model'),
    )
    .option('--served-model-name <id>', 'what clients call the model (also: KVCAPSULE_SERVED_MODEL_NAME)')
    .addOption(
      new Option('--redis <url>', 'use this Redis (default: a private one on loopback)').env(
        'KVCAPSULE_REDIS',
      ),
    )
    .option(
      '--api-key <key...>',
      'keys that clients must send (also: KVCAPSULE_API_KEYS, separated by commas)',
    )
    .option('--no-auth', 'listen without keys on an address that others reach')
    .addOption(new Option('--codec <codec>', 'how the KV of pictures is kept').choices([...CODECS]))
    .addOption(new Option('--pool-mib <mib>', 'KV pool of each worker').argParser(wholeNumber(1, 1_048_576)))
    .option(
      '--allow-image-host <host...>',
      'hosts whose pictures may be fetched though their address is not public',
    )
    .addHelpText('after', EXAMPLES);
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`it must be a whole number from ${String(min)} to ${String(max)}.`);
  };
}
