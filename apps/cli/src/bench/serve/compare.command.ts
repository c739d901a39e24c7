import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { compareSides } from '@kvcapsule/load/comparison';
import { parseSlo } from '@kvcapsule/load/measurement';
import { type LoadResult, measuredOf, parseLoadResult } from '@kvcapsule/load/results';
import { renderMarkdown } from '@kvcapsule/reporting';
import type { Command } from 'commander';
import { checkResults, keepResults } from '../../output.js';
import { type Comparison, comparisonReport, LOAD_COMPARISON } from './comparison-report.js';
import { warningsOf } from './serve-summary.js';

async function readResult(path: string): Promise<LoadResult> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new KvcError('CONFIG_INVALID', `${path} cannot be read`, { cause });
  });
  return parseLoadResult(path, text);
}

const HELP = `
Ratios are B's over A's. An interval that holds 1 does not tell the two apart; take more requests, or rounds in turns
(bench serve --peer).

Examples:
  kvcapsule bench serve compare before.json after.json
  kvcapsule bench serve compare before.json after.json --slo ttft=500ms --out comparison.json`;

interface CompareFlags {
  readonly slo?: string;
  readonly out?: string;
  readonly json: boolean;
}

/** Shows a comparison, and writes it with its pages where it is asked for. */
export async function tellComparison(
  comparison: Comparison,
  { out, json }: Omit<CompareFlags, 'slo'>,
): Promise<void> {
  const report = comparisonReport(comparison);
  process.stdout.write(json ? `${JSON.stringify(comparison)}\n` : renderMarkdown(report));
  if (out !== undefined) await keepResults(out, `${JSON.stringify(comparison, undefined, 2)}\n`, report);
}

async function compare(pathA: string, pathB: string, flags: CompareFlags): Promise<void> {
  if (flags.out !== undefined) await checkResults(flags.out);
  const [a, b] = [await readResult(pathA), await readResult(pathB)];
  const slo = flags.slo === undefined ? a.slo : parseSlo(flags.slo);
  const [nameA, nameB] = [pathA, pathB].map((path) => basename(path, '.json'));
  const side = (name: string, { command, commit, date, machine, target, load, workload }: LoadResult) =>
    [
      ...([
        [`command of ${name}`, command],
        [`commit of ${name}`, commit],
        [`date of ${name}`, date],
      ] as const),
      ...([
        [`machine of ${name}`, machine],
        [`server of ${name}`, `${target.model} at ${target.url}`],
      ] as const),
      [`load of ${name}`, `${load}; ${workload}`],
    ] as const;
  const warnings = [[nameA, a] as const, [nameB, b] as const].flatMap(([name, result]) =>
    warningsOf(result).map((line) => `${name ?? ''}: ${line}`),
  );
  await tellComparison(
    {
      ...{ kind: LOAD_COMPARISON, version: 1, a: nameA ?? 'A', b: nameB ?? 'B', rounds: 1, warnings },
      metrics: compareSides([measuredOf(a)], [measuredOf(b)], slo),
      provenance: [...side(nameA ?? 'A', a), ...side(nameB ?? 'B', b)],
    },
    flags,
  );
}

export function registerCompare(serve: Command): void {
  serve
    .command('compare')
    .description('set two runs beside each other: ratios with intervals')
    .argument('<a>', 'results of bench serve (JSON)')
    .argument('<b>', 'the same of another run')
    .option('--slo <bounds>', 'what a good request is (default: as in A)')
    .option('--out <file>', 'the comparison as JSON; .md and .html are written beside it')
    .option('--json', 'print the comparison as JSON', false)
    .addHelpText('after', HELP)
    .action(compare);
}
