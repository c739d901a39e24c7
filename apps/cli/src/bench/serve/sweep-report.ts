import type { Slo, Summary } from '@kvcapsule/load/measurement';
import type { RateBounds } from '@kvcapsule/load/sweep';
import { linesPlot, type Report } from '@kvcapsule/reporting';
import { msText, numberText, percentText } from './serve-summary.js';

/** A trial at a rate. */
export interface Trial {
  readonly perSecond: number;
  readonly summary: Pick<Summary, 'counts' | 'perSecond' | 'latency' | 'lag' | 'invalid'>;
}

export const LOAD_SWEEP = 'kvcapsule.load-sweep';

/** What a sweep found. */
export interface SweepResult extends RateBounds {
  readonly kind: typeof LOAD_SWEEP;
  readonly version: 1;
  readonly slo: Slo;
  readonly target: number;
  readonly trials: readonly Trial[];
  /** Why the search ended before it was over. */
  readonly stopped?: string;
  readonly provenance: Report['provenance'];
}

function conclusionOf({ holds, above, results, stopped }: SweepResult): string {
  const end = results.find(({ perSecond }) => perSecond === above);
  const beyond =
    end === undefined
      ? 'no higher rate was tried'
      : `${numberText(end.perSecond)} requests/s ${end.verdict === 'fails' ? 'fails' : 'is unresolved'}`;
  const found =
    holds === undefined
      ? `No rate is known to hold the SLO; ${beyond}.`
      : `${numberText(holds)} requests/s hold the SLO; ${beyond}.`;
  return stopped === undefined ? found : `Stopped: ${stopped}. ${found}`;
}

export function sweepReport(result: SweepResult): Report {
  const { slo, target, results, trials, holds, provenance } = result;
  const bounds = Object.entries(slo).map(([metric, most]) => `${metric} ≤ ${most} ms`);
  const shares = results.map(({ perSecond, share: { share, low, high } }) => ({
    ...{ x: perSecond, y: 100 * share, least: 100 * low, most: 100 * high },
  }));
  const times = (share: 'p50' | 'p99') =>
    trials
      .map(({ perSecond, summary }) => ({ x: perSecond, y: summary.latency.ttft[share] ?? Number.NaN }))
      .filter(({ y }) => y > 0)
      .sort((one, other) => one.x - other.x);
  const x = { type: 'log', label: 'requests a second →', ticks: 6, tickFormat: ',~r' } as const;
  const y = { type: 'log', ticks: 5, tickFormat: ',~r' } as const;
  return {
    title: 'Load sweep',
    summary: `${conclusionOf(result)} Good is ${bounds.join(', ')}, for ${percentText(target)} of requests.`,
    figures:
      holds === undefined
        ? []
        : [{ value: `${numberText(holds)}/s`, label: 'highest rate known to hold the SLO' }],
    sections: [
      {
        title: 'Rates',
        note: 'Share of good requests with its 95 % interval; all trials of a rate together.',
        plots: [linesPlot('Good requests, %', [{ name: 'good', points: shares }], { x })],
        table: {
          columns: ['requests/s', '', 'good', 'of', 'interval', 'trials'],
          rows: results.map(({ perSecond, share, verdict, trials: count }) => [
            ...[numberText(perSecond), verdict, String(share.hits), String(share.trials)],
            ...[`${percentText(share.low)} to ${percentText(share.high)}`, String(count)],
          ]),
        },
      },
      {
        title: 'Latency',
        plots: [
          linesPlot(
            'Time to first token, ms',
            [
              { name: 'median', points: times('p50') },
              { name: '99th percentile', points: times('p99') },
            ],
            { x, y },
          ),
        ],
        table: {
          columns: [
            'requests/s',
            'answered/s',
            'tokens/s',
            'TTFT p50, ms',
            'p99',
            'TPOT p50, ms',
            'p99',
            'failed',
          ],
          rows: trials.map(({ perSecond, summary: { perSecond: rates, latency, counts } }) => [
            ...[numberText(perSecond), numberText(rates.requests), numberText(rates.outputTokens)],
            ...[latency.ttft.p50, latency.ttft.p99, latency.tpot.p50, latency.tpot.p99].map(msText),
            String(Object.values(counts.errors).reduce((sum, count) => sum + count, 0)),
          ]),
        },
      },
    ],
    provenance,
  };
}
