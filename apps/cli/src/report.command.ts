import { readFile } from 'node:fs/promises';
import { KvcError } from '@kvcapsule/contracts';
import { evalReport } from '@kvcapsule/evaluation/report';
import type { EvalReport } from '@kvcapsule/evaluation/fidelity';
import type { Report } from '@kvcapsule/reporting';
import type { Command } from 'commander';
import { LOAD_RESULT, parseLoadResult } from '@kvcapsule/load/results';
import { engineReport } from './bench/engine-report.js';
import type { BenchReport } from './bench/report.js';
import { type Comparison, comparisonReport, LOAD_COMPARISON } from './bench/serve/comparison-report.js';
import { loadReport } from './bench/serve/load-report.js';
import { LOAD_SWEEP, sweepReport, type SweepResult } from './bench/serve/sweep-report.js';
import { checkOutput, writePages } from './output.js';

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

const isKind = (value: unknown, kind: string): boolean => isRecord(value) && value['kind'] === kind;

/** @throws KvcError CONFIG_INVALID for a file that no command of ours has written */
export function reportOf(path: string, text: string): Report {
  const invalid = (why: string, cause?: unknown) =>
    new KvcError('CONFIG_INVALID', `${path}: ${why}`, { cause });
  let results: unknown;
  try {
    results = JSON.parse(text);
  } catch (cause) {
    throw invalid('not JSON', cause);
  }
  if (isKind(results, LOAD_RESULT)) return loadReport(parseLoadResult(path, text));
  const has = (...keys: string[]) => isRecord(results) && keys.every((key) => key in results);
  try {
    if (has('kind', 'metrics') && isKind(results, LOAD_COMPARISON))
      return comparisonReport(results as Comparison);
    if (has('kind', 'trials') && isKind(results, LOAD_SWEEP)) return sweepReport(results as SweepResult);
    if (has('entries', 'picture', 'scenes')) return evalReport(results as EvalReport);
    if (has('points', 'geometry', 'roof')) return engineReport(results as BenchReport);
  } catch (cause) {
    throw invalid('results of another version, or not whole', cause);
  }
  throw invalid('not the results of eval, bench engine or bench serve');
}

export function registerReport(program: Command): void {
  program
    .command('report')
    .description('make the pages of saved results again')
    .argument('<file...>', 'results of eval, bench engine or bench serve (JSON)')
    .addHelpText(
      'after',
      '\nWrites FILE.md and FILE.html beside each file.\n\nExamples:\n  kvcapsule report bench/results/accuracy.json',
    )
    .action(async (files: readonly string[]) => {
      for (const file of files) {
        await checkOutput(file, 'file');
        const text = await readFile(file, 'utf8').catch((cause: unknown) => {
          throw new KvcError('CONFIG_INVALID', `${file} cannot be read`, { cause });
        });
        await writePages(file, reportOf(file, text));
      }
    });
}
