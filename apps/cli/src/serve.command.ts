import { Argument, type Command } from 'commander';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
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
    .action(async (part: 'router' | 'worker', settings: readonly string[]) => {
      process.exitCode = await serve(part, settings);
    });
}

async function serve(part: 'router' | 'worker', settings: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [partMain(part), ...settings], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}
