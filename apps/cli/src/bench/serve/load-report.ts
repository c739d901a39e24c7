import { type LoadResult, measuredOf } from '@kvcapsule/load/results';
import type { KeyFigure, Report, Section } from '@kvcapsule/reporting';
import { loadPlots } from './load-plots.js';
import { factRows, failedCount, latencyTable, msText, numberText, warningsOf } from './serve-summary.js';

function figuresOf(result: LoadResult): KeyFigure[] {
  const { perSecond, latency, good } = result.summary;
  return [
    { value: `${numberText(perSecond.requests)}/s`, label: 'requests answered' },
    { value: `${numberText(perSecond.outputTokens)}/s`, label: 'tokens written' },
    {
      value: `${msText(latency.ttft.p50)} ms`,
      label: `to the first token, median; 1 % wait ${msText(latency.ttft.p99)} ms or more`,
    },
    good
      ? { value: `${(100 * good.share).toFixed(1)} %`, label: 'of requests within the SLO' }
      : { value: `${msText(latency.tpot.p50)} ms`, label: 'a token after the first, median' },
  ];
}

function summaryOf(result: LoadResult): string {
  const { counts } = result.summary;
  const failed = failedCount(result);
  const answers = failed > 0 ? `${failed} of ${counts.started} requests failed` : 'no request failed';
  const warnings = warningsOf(result).map((line) => `${line}.`);
  return [...warnings, `${result.target.model}, ${result.load}; ${result.workload}; ${answers}.`].join(' ');
}

function sectionsOf(result: LoadResult): Section[] {
  const { records, gaps } = measuredOf(result);
  const plots = loadPlots(records, gaps);
  return [
    {
      title: 'Latency',
      note:
        'Times count from when a request was to be sent: a request that waits because the server stands still is late, too. ' +
        '“From the true send” is what a generator sees that only looks at requests it has sent; where both differ, the lag says why.',
      plots: plots.latencies,
      table: latencyTable(result),
    },
    { title: 'Distribution', plots: plots.distribution },
    { title: 'Rates', plots: plots.rates },
    { title: 'Counts', table: { columns: ['', ''], rows: factRows(result) }, detail: true },
  ];
}

/** What a load test found, for people. */
export function loadReport(result: LoadResult): Report {
  const { command, commit, date, machine, machineLoad, target } = result;
  return {
    title: `Load test: ${result.name}`,
    summary: summaryOf(result),
    figures: figuresOf(result),
    sections: sectionsOf(result),
    provenance: [
      ...([
        ['command', command],
        ['commit', commit],
        ['date', date],
        ['machine', machine],
      ] as const),
      ['load average at begin and end', machineLoad.map((one) => one.toFixed(1)).join(', ')],
      ['server', `${target.model} at ${target.url}`],
    ],
  };
}
