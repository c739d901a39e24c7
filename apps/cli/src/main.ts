import { outliveClosedPipes } from '@kvcapsule/platform/logging';
import { outliveHangup } from '@kvcapsule/platform/processes';
import { describeFailure } from './failure.js';
import { createProgram } from './program.js';

/** These go on without a terminal; any other command ends quietly, as programs in a pipe do. */
const isService = ['up', 'serve', 'simulate'].includes(process.argv[2] ?? '');
outliveClosedPipes(() => {
  if (!isService) process.exit(0);
});
outliveHangup();

try {
  await (await createProgram(process.argv[2])).parseAsync();
} catch (error) {
  process.stderr.write(`${describeFailure(error)}\n`);
  process.exitCode = 1;
}
