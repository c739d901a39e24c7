import { unreadVariables } from '@kvcapsule/platform/config';
import { logWarnings } from '@kvcapsule/platform/logging';
import { onEndSignals, terminalSignals } from '@kvcapsule/platform/processes';
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CliError } from '../failure.js';
import { stateDirs } from '../paths.js';
import { checkOptions } from './check-options.js';
import { UpCluster } from './cluster.js';
import { firstScreen } from './first-screen.js';
import { makeLogFolder } from './log-folder.js';
import { type UpOptions, upOptions } from './options.js';

export function registerUp(program: Command): void {
  upOptions(program.command('up').description('serve: Redis, workers and the router, until Ctrl-C')).action(
    async (options: UpOptions, command: Command) => {
      for (const folder of options.model) assertModelFolder(folder);
      await checkOptions(options, (option) => command.getOptionValueSource(option) === 'env');
      await up(options);
    },
  );
}

async function up(options: UpOptions): Promise<void> {
  const startedMs = performance.now();
  const logFolder = makeLogFolder(stateDirs(), new Date());
  const say = (line: string): void => {
    process.stderr.write(`${new Date().toTimeString().slice(0, 8)} ${line}\n`);
  };
  logWarnings({
    warn: (_fields, message) => {
      say(message);
    },
  });
  for (const line of unreadVariables(process.env, ['router', 'worker'])) say(line);
  const cluster = new UpCluster(options, logFolder, say);
  const stop = stopOnSignal(cluster, say);
  try {
    const serving = await Promise.race([cluster.start(), stop.requested.then(() => undefined)]);
    if (serving !== undefined) {
      say(`ready after ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
      const withKey =
        options.auth && (options.apiKey !== undefined || process.env['KVCAPSULE_API_KEYS'] !== undefined);
      process.stdout.write(firstScreen({ ...serving, logFolder, withKey, cwd: process.cwd() }));
      await stop.requested;
    }
  } finally {
    await cluster.stop();
  }
  say('stopped');
}

/** First signal: an orderly stop. Second: an end at once. */
function stopOnSignal(cluster: UpCluster, say: (line: string) => void): { requested: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  onEndSignals({
    signals: terminalSignals(),
    first: () => {
      say('stopping (once more: at once)');
      resolve(undefined);
    },
    again: () => void cluster.kill(),
  });
  return { requested: promise };
}

function assertModelFolder(folder: string): void {
  if (existsSync(join(folder, 'config.json'))) return;
  throw new CliError(
    `${folder} is not a model folder: it holds no config.json.`,
    'Point --model at a Hugging Face folder (config.json, *.safetensors, tokenizer.json, preprocessor_config.json).',
  );
}
