import { type Command, Option } from 'commander';
import { resolve } from 'node:path';
import { numberArgument, wholeArgument } from '../numbers.js';
import { DEFAULT_MODEL_DIR } from '../paths.js';

export interface SimulateOptions {
  readonly workers: number;
  /** Times that engines are faster than the one that was measured. */
  readonly speedup: number;
  readonly redis?: string;
  /** Absolute folder. */
  readonly model: string;
  /** Absent: the demo model's. */
  readonly engine?: string;
  readonly poolMib: number;
  readonly answerTokens: number;
  readonly host: string;
  readonly idPrefix: string;
}

const EXAMPLES = `
Examples:
  kvcapsule simulate --workers 100                           beside a private Redis, whose URL is printed
  kvcapsule simulate --workers 1000 --redis redis://HOST     beside the Redis of a router
  kvcapsule simulate --workers 20 --speedup 10               engines ten times as fast

Workers that keep time and pages and compute nothing: docs/guides/simulation.md`;

export function simulateOptions(command: Command): Command {
  return command
    .addOption(
      new Option('-w, --workers <count>', 'workers, all in this process')
        .argParser(wholeArgument(1, 10_000))
        .default(10),
    )
    .addOption(
      new Option('--speedup <factor>', 'times that engines are faster than the one measured')
        .argParser(numberArgument(0.001, 1e6))
        .default(1),
    )
    .addOption(
      new Option('--redis <url>', 'the Redis of a router (default: a private one on loopback)').env(
        'KVCAPSULE_REDIS',
      ),
    )
    .addOption(
      new Option('-m, --model <folder>', 'Hugging Face folder of the model that workers claim to serve')
        .argParser((folder: string) => resolve(folder))
        .default(DEFAULT_MODEL_DIR, 'the demo model'),
    )
    .option('--engine <file>', 'measured engine of that model (default: the demo model’s)')
    .addOption(
      new Option('--pool-mib <mib>', 'KV pool that each worker claims')
        .argParser(wholeArgument(1, 1_048_576))
        .default(64),
    )
    .addOption(
      new Option('--answer-tokens <count>', 'mean length of answers that no limit ends')
        .argParser(numberArgument(1, 1e6))
        .default(128),
    )
    .option('--host <address>', 'address that all listen on, each at a port of its own', '127.0.0.1')
    .option('--id-prefix <text>', 'ids are this and a number from 0 on', 'sim-')
    .addHelpText('after', EXAMPLES);
}
