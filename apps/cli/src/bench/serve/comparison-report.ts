import type { ComparedMetric } from '@kvcapsule/load/comparison';
import type { Report, Table } from '@kvcapsule/reporting';
import { msText, numberText } from './serve-summary.js';

/** Two sides and what they come to. */
export interface Comparison {
  readonly kind: typeof LOAD_COMPARISON;
  readonly version: 1;
  /** Names of the sides; ratios are the second's over the first's. */
  readonly a: string;
  readonly b: string;
  readonly rounds: number;
  readonly metrics: readonly ComparedMetric[];
  /** Why numbers of one side are not to be used. */
  readonly warnings: readonly string[];
  /** What it takes to measure again. */
  readonly provenance: readonly (readonly [name: string, value: string])[];
}

export const LOAD_COMPARISON = 'kvcapsule.load-comparison';

const valueText = (value: number, unit: ComparedMetric['unit']): string => {
  if (!Number.isFinite(value)) return '–';
  if (unit === 'share') return `${(100 * value).toFixed(1)} %`;
  return unit === 'ms' ? `${msText(value)} ms` : `${numberText(value)}/s`;
};

const WORDS = { better: 'better', worse: 'worse', unknown: 'not told apart' } as const;

function tableOf({ a, b, metrics }: Comparison): Table {
  return {
    columns: ['', a, b, `times ${a}`, '95 % interval', b],
    rows: metrics.map(({ name, unit, a: first, b: second, ratio, low, high, verdict }) => [
      name,
      valueText(first, unit),
      valueText(second, unit),
      Number.isFinite(ratio) ? ratio.toFixed(3) : '–',
      Number.isFinite(low) ? `${low.toFixed(3)} to ${high.toFixed(3)}` : '–',
      WORDS[verdict],
    ]),
  };
}

/** What a comparison found, for people. */
export function comparisonReport(comparison: Comparison): Report {
  const { a, b, rounds, metrics, warnings, provenance } = comparison;
  const told = metrics.filter(({ verdict }) => verdict !== 'unknown');
  const figures = metrics
    .filter(({ name }) => ['TTFT p50', 'TPOT p50', 'requests'].includes(name))
    .filter(({ ratio }) => Number.isFinite(ratio))
    .map(({ name, ratio, low, high }) => ({
      value: `${ratio.toFixed(2)}×`,
      label: `${name}, ${low.toFixed(2)} to ${high.toFixed(2)}`,
    }));
  return {
    title: `Load tests: ${b} beside ${a}`,
    summary: [
      ...warnings.map((line) => `${line}.`),
      told.length === 0
        ? 'The two are not told apart by any metric.'
        : `The two differ in ${told.map(({ name }) => name).join(', ')}.`,
    ].join(' '),
    figures,
    sections: [
      {
        title: 'Ratios',
        note:
          `Of each metric ${b}’s value over ${a}’s${rounds > 1 ? `, ${rounds} rounds in turns` : ''}. ` +
          'Intervals come from resampling whole conversations (rates: a twentieth of a run at a time); where one holds 1, the sides are not told apart.',
        table: tableOf(comparison),
      },
    ],
    provenance,
  };
}
