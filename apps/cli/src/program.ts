import { Command } from 'commander';
import { EXIT_CODES_HELP, USAGE_ERROR } from './exit-codes.js';

type Register = (program: Command) => void;

/**
 * Every command of the CLI, in the order of the help. Each is loaded when it is asked for: all of them together, with
 * the libraries of plots and engines, take a second. `test` and the set-up live in the entry script, which needs no
 * build.
 */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  up: async () => (await import('./up/up.command.js')).registerUp,
  ask: async () => (await import('./ask/ask.command.js')).registerAsk,
  serve: async () => (await import('./serve.command.js')).registerServe,
  doctor: async () => (await import('./doctor/doctor.command.js')).registerDoctor,
  status: async () => (await import('./status/status.command.js')).registerStatus,
  inspect: async () => (await import('./inspect/inspect.command.js')).registerInspect,
  drain: async () => (await import('./drain/drain.command.js')).registerDrain,
  calibrate: async () => (await import('./calibrate.command.js')).registerCalibrate,
  profile: async () => (await import('./profile-show.js')).registerProfile,
  eval: async () => (await import('./eval/eval.command.js')).registerEval,
  bench: async () => (await import('./bench/bench.command.js')).registerBench,
  report: async () => (await import('./report.command.js')).registerReport,
  simulate: async () => (await import('./simulate/simulate.command.js')).registerSimulate,
  completion: async () => (await import('./completion/completion.command.js')).registerCompletion,
};

/** Commands that are about all of them. */
const ABOUT_ALL: readonly string[] = ['completion'];

/**
 * @param wanted the one command that is asked for; all where it is none of them
 */
export async function createProgram(wanted = ''): Promise<Command> {
  const program = new Command('kvcapsule')
    .description('Serves vision-language models and keeps the KV cache of pictures in compressed capsules.')
    .enablePositionalOptions()
    .showHelpAfterError('(--help lists the options)')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE_ERROR));
  const isOne = Object.hasOwn(COMMANDS, wanted) && !ABOUT_ALL.includes(wanted);
  const loads = isOne ? [COMMANDS[wanted]] : Object.values(COMMANDS);
  for (const load of loads) (await load?.())?.(program);
  addExitCodes(program);
  return program;
}

function addExitCodes(command: Command): void {
  command.addHelpText('after', EXIT_CODES_HELP);
  command.commands.forEach(addExitCodes);
}
