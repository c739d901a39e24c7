import { join } from 'node:path';
import { calibrate } from '@kvcapsule/evaluation/calibration';
import type { Command } from 'commander';
import { CALIBRATE_HELP, type CalibrateFlags, calibrateOptions } from './calibrate-flags.js';
import { checkOutput } from './output.js';

/** Progress overwrites itself on a terminal; elsewhere every line stays. */
function progressLine(line: string): void {
  const overwrite = process.stderr.isTTY && /^(pictures|errors) /.test(line);
  process.stderr.write(overwrite ? `\r${line}` : `${line}\n`);
}

export function registerCalibrate(program: Command): void {
  program
    .command('calibrate')
    .description('fit capsule profiles from pictures')
    .requiredOption('--model <dir>', 'Hugging Face folder')
    .requiredOption('--images <dir>', 'folder of pictures of any shapes, scenes:SEED or scenes:SEED/CROP')
    .requiredOption(
      '--out <file>',
      'profile to write; further ones add -xNN (ratio), -rNN (retention), -RxC (grid) or -pooled',
    )
    .option('--count <n>', 'pictures to use at most', '512')
    .option('--codec <name>', 'capsule, capsule-q8, capsule-q4 or capsule-mixed', 'capsule-mixed')
    .option('--ratio <ratios>', 'times smaller than raw 16-bit rows, comma-separated', '16')
    .option(
      '--groups <name>',
      'rows fitted together: tiles, whole spans, or the tiles of all grids pooled',
      'tiles',
    )
    .option('--key-template <name>', 'rows whose mean key comes off: none, markers, group or all', 'group')
    .option('--value-template <name>', 'rows whose mean value comes off: none, markers, group or all', 'all')
    .option('--basis <name>', 'coefficients: principal components, or rows drawn at random', 'principal')
    .option('--allocation <name>', 'bits of capsule-mixed: picture (each its own) or static', 'picture')
    .option('--without <parts>', 'to measure what each gives: rotation, weights, sensitivity, allocation', '')
    .option(
      '--sensitivities <list>',
      'what errors in keys and values of each layer cost (default: measured)',
      '',
    )
    .option('--row-bits <n>', 'capsule-q8 and capsule-q4 with other bits a row, to compare', '')
    .option(
      '--candidates <times>',
      'rows that may gain bits: those that would at so many times the bytes',
      '1.5',
    )
    .option('--row-cost <bits>', 'bits a channel that a row must be worth beside its own: fewer rows', '1')
    .option('--retention <shares>', 'codec capsule: shares of rows to keep, comma-separated', '0.4')
    .option('--schedule <name>', 'codec capsule: flat or pyramid (early layers keep more)', 'flat')
    .option(
      '--statistics <dir>',
      'keep what is gathered from the pictures, for other fits on the same ones',
      '',
    )
    .option('--threads <n>', 'threads (0: as many as the process may run on)', '0')
    .addHelpText('after', CALIBRATE_HELP)
    .action(async (flags: CalibrateFlags) => {
      const options = calibrateOptions(flags);
      await checkOutput(options.out);
      if (options.statistics !== undefined)
        await checkOutput(join(options.statistics, 'any'), '--statistics');
      await calibrate(options, progressLine);
    });
}
