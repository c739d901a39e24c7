import { Command } from 'commander';
import { registerAsk } from './ask/ask.command.js';
import { registerBench } from './bench/bench.command.js';
import { registerCalibrate } from './calibrate.command.js';
import { registerCompletion } from './completion/completion.command.js';
import { registerDoctor } from './doctor/doctor.command.js';
import { registerEval } from './eval/eval.command.js';
import { EXIT_CODES_HELP, USAGE_ERROR } from './exit-codes.js';
import { registerProfile } from './profile-show.js';
import { registerReport } from './report.command.js';
import { registerServe } from './serve.command.js';
import { registerSimulate } from './simulate/simulate.command.js';
import { registerUp } from './up/up.command.js';

/** Every command of the CLI. `test` and the set-up live in the entry script, which needs no build. */
export function createProgram(): Command {
  const program = new Command('kvcapsule')
    .description('Serves vision-language models and keeps the KV cache of pictures in compressed capsules.')
    .enablePositionalOptions()
    .showHelpAfterError('(--help lists the options)')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE_ERROR));
  registerUp(program);
  registerAsk(program);
  registerServe(program);
  registerDoctor(program);
  registerCalibrate(program);
  registerProfile(program);
  registerEval(program);
  registerBench(program);
  registerReport(program);
  registerSimulate(program);
  registerCompletion(program);
  addExitCodes(program);
  return program;
}

function addExitCodes(command: Command): void {
  command.addHelpText('after', EXIT_CODES_HELP);
  command.commands.forEach(addExitCodes);
}
