import type { Distribution } from '@kvcapsule/load/measurement';
import type { LoadResult } from '@kvcapsule/load/results';
import type { Table } from '@kvcapsule/reporting';

export const msText = (value: number | null): string =>
  value === null ? '–' : value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);

export const numberText = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

export const percentText = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** What a request's times are called, in the order of reading. */
export function latencies({
  summary: { latency, fromSend, lag },
}: LoadResult): [name: string, times: Distribution][] {
  return [
    ['time to first token (TTFT)', latency.ttft],
    ['between chunks (ITL)', latency.itl],
    ['a token after the first (TPOT)', latency.tpot],
    ['longest pause of an answer', latency.longestGap],
    ['end to end', latency.e2e],
    ['TTFT from the true send', fromSend.ttft],
    ['end to end from the true send', fromSend.e2e],
    ['lag of the send', lag],
  ];
}

export function latencyTable(result: LoadResult): Table {
  return {
    columns: ['ms', 'mean', 'p50', 'p90', 'p95', 'p99', 'p99.9', 'most', 'of'],
    rows: latencies(result).map(([name, { count, mean, p50, p90, p95, p99, p999, most }]) => [
      name,
      ...[mean, p50, p90, p95, p99, p999, most].map(msText),
      String(count),
    ]),
  };
}

export const failedCount = ({ summary: { counts } }: LoadResult): number =>
  Object.values(counts.errors).reduce((sum, count) => sum + count, 0);

/** Counts, errors by kind, rates, tokens: name and value. */
export function factRows(result: LoadResult): [name: string, value: string][] {
  const { counts, warmUp, seconds, perSecond, tokens, generator, good } = result.summary;
  const slo = Object.entries(result.slo ?? {}).map(([metric, most]) => `${metric} ≤ ${most} ms`);
  return [
    [
      'requests',
      `${counts.started}, of them ${counts.ok} ok, ${failedCount(result)} failed, ${counts.cancelled} cut off at the end`,
    ],
    ...Object.entries(counts.errors).map(([kind, count]): [string, string] => [
      `failed: ${kind}`,
      String(count),
    ]),
    ['left out as warm-up', String(warmUp)],
    ['measured', `${seconds.toFixed(1)} s`],
    ['requests/s', numberText(perSecond.requests)],
    ['output tokens/s', numberText(perSecond.outputTokens)],
    ['prompt tokens/s', numberText(perSecond.promptTokens)],
    ...(good && perSecond.good !== undefined
      ? ([
          [
            `good (${slo.join(', ')})`,
            `${percentText(good.share)} [${percentText(good.low)}, ${percentText(good.high)}]`,
          ],
          ['goodput, requests/s', numberText(perSecond.good)],
        ] as [string, string][])
      : []),
    [
      'tokens by the server’s usage',
      `${tokens.prompt} read (${tokens.cached} from cache), ${tokens.completion} written`,
    ],
    [
      'chunks of text',
      `${tokens.parts}, ${(tokens.completion / Math.max(1, tokens.parts)).toFixed(2)} tokens each`,
    ],
    ...(tokens.withoutUsage > 0
      ? ([['answers without usage', `${tokens.withoutUsage} (chunks are counted as tokens)`]] as [
          string,
          string,
        ][])
      : []),
    ...(tokens.contradicting > 0
      ? ([['answers with more chunks than tokens counted', String(tokens.contradicting)]] as [
          string,
          string,
        ][])
      : []),
    [
      'load processes',
      `${result.processes}, ${generator.cpuSeconds.toFixed(1)} s of CPU, loop lag p99 ${msText(generator.loopLagMs)} ms`,
    ],
  ];
}

/** Why these numbers should not be used as they are; empty when they may. */
export function warningsOf({ summary: { invalid }, complete, partial, repeats }: LoadResult): string[] {
  return [
    ...(complete ? [] : (partial ?? ['ended before its plan did']).map((why) => `PARTIAL: ${why}`)),
    ...invalid.map((why) => `INVALID: ${why}`),
    ...(repeats !== undefined && repeats.again > 0
      ? [
          `REPEATED: the file has ${repeats.distinct} conversations, and ${repeats.again} of ${repeats.asked} were asked ` +
            'again, which a prefix cache answers sooner',
        ]
      : []),
  ];
}

/** What the terminal shows. */
export function summaryText(result: LoadResult): string {
  const { columns, rows } = latencyTable(result);
  const table = [columns, ...rows];
  const widths = columns.map((_, at) => Math.max(...table.map((row) => row[at]?.length ?? 0)));
  const lines = table.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  '),
  );
  const facts = factRows(result).map(([name, value]) => `${name}: ${value}`);
  const head = `${result.name}: ${result.load}; ${result.workload}; ${result.target.model} at ${result.target.url}`;
  return `${[head, '', ...lines, '', ...facts, ...warningsOf(result)].join('\n')}\n`;
}
