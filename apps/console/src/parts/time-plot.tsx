import 'uplot/dist/uPlot.min.css';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { isDark, token } from '../theme.js';
import { useSize } from './use-size.js';

export interface Series {
  readonly name: string;
  /** Name of a design token. */
  readonly color: string;
  readonly values: readonly (number | null)[];
  readonly dashed?: boolean;
  readonly filled?: boolean;
}

interface Props {
  readonly title: string;
  readonly at: readonly number[];
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
  /** Lines stand at powers of two. */
  readonly isBinary?: boolean;
}

const HEIGHT = 148;

/** A few series over the last minutes. The newest values stand beside its names, so that nobody needs the picture. */
export function TimePlot({ title, at, series, format, isBinary = false }: Props) {
  const [holder, { width }] = useSize<HTMLDivElement>();
  const plot = useRef<uPlot | undefined>(undefined);
  const dark = isDark.value;
  useEffect(() => {
    if (!holder.current || width === 0) return undefined;
    const made = new uPlot(
      optionsOf(series, width, { format, isBinary }),
      dataOf(at, series),
      holder.current,
    );
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = undefined;
    };
  }, [width, dark]);
  useEffect(() => {
    plot.current?.setData(dataOf(at, series));
  }, [at]);
  return (
    <section class="panel plot">
      <h3>{title}</h3>
      <ul class="plot-names">
        {series.map(({ name, color, values, dashed }) => (
          <li key={name}>
            <span class={`line line-${color}`} data-dashed={dashed} aria-hidden="true" />
            {name} <b class="num">{lastOf(values, format)}</b>
          </li>
        ))}
      </ul>
      <div ref={holder} class="plot-area" aria-hidden="true" />
    </section>
  );
}

function lastOf(values: readonly (number | null)[], format: (value: number) => string): string {
  const last = values.at(-1);
  return last === null || last === undefined ? '–' : format(last);
}

const dataOf = (at: readonly number[], series: readonly Series[]): uPlot.AlignedData => [
  [...at],
  ...series.map(({ values }) => [...values]),
];

const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const MINUTES = [60, 120, 300, 600];

interface Look {
  readonly format: Props['format'];
  readonly isBinary: boolean;
}

function optionsOf(series: readonly Series[], width: number, { format, isBinary }: Look): uPlot.Options {
  const axis = {
    stroke: token('ink-3'),
    font: '11px Inter Variable',
    grid: { stroke: token('line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 8, 0, 0],
    scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1e-6)] } },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 24,
        space: 50,
        incrs: MINUTES,
        values: (_, splits) => splits.map(minute),
      },
      {
        ...axis,
        size: 62,
        space: 34,
        ...(isBinary && { incrs: POWERS }),
        values: (_, splits) => splits.map(format),
      },
    ],
    series: [
      {},
      ...series.map(({ color, dashed, filled }) => ({
        stroke: token(color),
        width: 1.75,
        points: { show: false },
        ...(dashed && { dash: [4, 3] }),
        ...(filled && { fill: token(`${color}-soft`) }),
      })),
    ],
  };
}

const minute = (at: number) =>
  new Date(at * 1_000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
