import { KvcError } from '@kvcapsule/contracts';
import { type Slo, summarize } from '@kvcapsule/load/measurement';
import { leastTrials, RateSearch, type RateResult } from '@kvcapsule/load/sweep';
import { commitOf, machineName, renderMarkdown } from '@kvcapsule/reporting';
import type { Command } from 'commander';
import { CliError, cliErrorOf } from '../../failure.js';
import { numberOf, wholeOf } from '../../numbers.js';
import { checkResults, keepResults } from '../../output.js';
import { commandText, workloadText } from './describe.js';
import { addLoadFlags, type LoadFlags, type LoadOptions, parseLoadFlags } from './options.js';
import { driveLoad, reachTarget, type Target } from './serve-load.js';
import { numberText, percentText } from './serve-summary.js';
import { LOAD_SWEEP, sweepReport, type SweepResult, type Trial } from './sweep-report.js';

interface SweepFlags extends LoadFlags {
  readonly start: string;
  readonly target: string;
  readonly precision: string;
  readonly most: string;
  readonly trials: string;
}

const HELP = `
Doubles the rate until the SLO does not hold, then halves the distance. A rate holds when the whole 95 % interval
(Wilson's) of the share of good requests lies above --target, and fails when all of it lies below; with few samples it
is neither, is tried again, and is told as unresolved. A trial sends at least as many requests as could settle it.
It stops where the load process itself cannot keep up: take more --processes then.

Examples:
  kvcapsule bench serve sweep --slo ttft=500ms,itl=50ms --duration 30s --out sweep.json
  kvcapsule bench serve sweep --slo e2e=5s --target 0.99 --start 4 --precision 0.05`;

function lineOf({ perSecond, share, verdict, trials }: RateResult): string {
  const interval = `${percentText(share.low)} to ${percentText(share.high)}`;
  return `${numberText(perSecond)} requests/s: ${verdict}, ${share.hits} of ${share.trials} good (${interval})${trials > 1 ? `, ${trials} trials` : ''}`;
}

/** Long enough for as many requests as could settle a rate. */
function trialOptions(options: LoadOptions, perSecond: number, target: number): LoadOptions {
  const leastMs = (1_000 * 1.25 * leastTrials(target)) / perSecond;
  const shape = { kind: 'open', profile: { kind: 'constant', perSecond }, spacing: 'poisson' } as const;
  const spacing = options.shape.kind === 'open' ? options.shape.spacing : shape.spacing;
  return { ...options, shape: { ...shape, spacing }, durationMs: Math.max(options.durationMs ?? 0, leastMs) };
}

async function search(
  found: RateSearch,
  options: LoadOptions & { readonly slo: Slo },
  target: Target,
  share: number,
): Promise<Pick<SweepResult, 'trials' | 'stopped'>> {
  const trials: Trial[] = [];
  for (let rate = found.next(); rate !== undefined; rate = found.next()) {
    // another seed each time: the same luck twice would be no news
    const asked = { ...trialOptions(options, rate, share), seed: options.seed + trials.length };
    const driven = await driveLoad(asked, target, `${numberText(rate)}/s`).catch(cliErrorOf);
    // trials before it are kept
    if (driven instanceof CliError) return { trials, stopped: driven.message };
    if (driven.partial.length > 0) return { trials, stopped: `PARTIAL: ${driven.partial.join(', ')}` };
    const summary = summarize(driven.measured, driven.generator, options.lagLimitMs, options.slo);
    const { counts, perSecond, latency, lag, invalid, good } = summary;
    trials.push({ perSecond: rate, summary: { counts, perSecond, latency, lag, invalid } });
    const late = invalid.filter((why) => !why.startsWith('no request'));
    if (late.length > 0) return { trials, stopped: `at ${numberText(rate)} requests/s ${late.join(', ')}` };
    process.stderr.write(`${lineOf(found.take(rate, good?.hits ?? 0, good?.trials ?? 0))}\n`);
  }
  return { trials };
}

async function sweep(flags: SweepFlags): Promise<void> {
  if (flags.out !== undefined) await checkResults(flags.out);
  const { slo, ...options } = parseLoadFlags({ ...flags, rate: flags.start });
  if (slo === undefined)
    throw new KvcError('CONFIG_INVALID', '--slo: a sweep needs one, as ttft=500ms,itl=50ms');
  const share = numberOf('--target', flags.target, 0.01, 0.9999);
  const found = new RateSearch({
    startPerSecond: numberOf('--start', flags.start, 0.001, 1e6),
    target: share,
    precision: numberOf('--precision', flags.precision, 0.01, 10),
    leastPerSecond: 0.01,
    mostPerSecond: numberOf('--most', flags.most, 0.01, 1e6),
    trials: wholeOf('--trials', flags.trials, 1, 100),
  });
  const target = await reachTarget(options, (line) => process.stderr.write(`${line}\n`));
  const searched = await search(found, { ...options, slo }, target, share);
  const result: SweepResult = {
    ...{ kind: LOAD_SWEEP, version: 1, slo, target: share, ...found.bounds(), ...searched },
    provenance: [
      ['command', commandText(process.argv.slice(2))],
      ['commit', await commitOf()],
      ['date', new Date().toISOString().slice(0, 10)],
      ['machine', machineName()],
      ['server', `${target.model} at ${target.baseUrl}`],
      ['workload', workloadText(options)],
    ],
  };
  const report = sweepReport(result);
  process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : renderMarkdown(report));
  if (flags.out !== undefined)
    await keepResults(flags.out, `${JSON.stringify(result, undefined, 2)}\n`, report);
  if (searched.stopped !== undefined && found.bounds().holds === undefined)
    throw new CliError(`no rate was settled: ${searched.stopped}`);
}

export function registerSweep(serve: Command): void {
  addLoadFlags(serve.command('sweep').description('find the highest rate that holds an SLO'))
    .option('--start <n>', 'first rate, requests a second', '1')
    .option('--most <n>', 'no rate above this is tried', '10000')
    .option('--target <share>', 'share of requests that have to be good', '0.95')
    .option('--precision <share>', 'ends when the rate is known to this', '0.1')
    .option('--trials <n>', 'trials of a rate before it is left unresolved', '3')
    .option('--out <file>', 'results as JSON; .md and .html are written beside it')
    .option('--json', 'print the results as JSON', false)
    .addHelpText('after', HELP)
    .action(sweep);
}
