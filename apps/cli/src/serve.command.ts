import { Argument, type Command } from 'commander';
import { CliError } from './failure.js';
import { partMain } from './paths.js';

const EXAMPLES = `
Examples:
  kvcapsule serve worker --id worker-0 --redis redis://127.0.0.1:6379 --model deploy/models/emoji-vlm
  kvcapsule serve router --port 8000 --redis redis://127.0.0.1:6379 --model deploy/models/emoji-vlm
  kvcapsule serve worker --help      every setting of that part`;

/** Runs one part in the foreground, for set-ups that bring their own supervisor. */
export function registerServe(program: Command): void {
  program
    .command('serve')
    .description('run one part alone: router or worker')
    .addArgument(new Argument('<part>', 'which part').choices(['router', 'worker']))
    .argument('[settings...]', 'settings of that part')
    .allowUnknownOption()
    .passThroughOptions()
    .addHelpText('after', EXAMPLES)
    .action((part: 'router' | 'worker', settings: readonly string[]) => {
      become(part, settings);
    });
}

/**
 * The part takes this process's place: a process between it and a terminal or a supervisor would tell it of one Ctrl-C
 * twice, and leave it behind when killed.
 */
function become(part: 'router' | 'worker', settings: readonly string[]): never {
  if (!process.execve)
    throw new CliError('This Node cannot run a part in its place.', 'Take Node 24 or newer.');
  return process.execve(process.execPath, [process.execPath, partMain(part), ...settings], process.env);
}
