import * as Plot from '@observablehq/plot';
import { colourOf, type PlotBlock } from '@kvcapsule/reporting';
import type { Point } from './measure.js';
import { OWN, rowsOf, type BenchReport, type Row } from './report.js';

/** A value of one side at one batch and context. */
interface Mark {
  readonly side: string;
  readonly batch: number;
  readonly context: number;
  readonly value: number;
}

type Axis = 'batch' | 'context';

function marksOf(
  report: BenchReport,
  points: readonly Point[],
  value: (row: Row) => number | undefined,
): Mark[] {
  return points.flatMap((point) =>
    rowsOf(report, point).flatMap((row) => {
      const y = value(row);
      return y === undefined
        ? []
        : [{ side: row.side, batch: point.batch, context: point.context, value: y }];
    }),
  );
}

const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];
const LABELS: Readonly<Record<Axis, string>> = {
  batch: 'sequences at once',
  context: 'tokens of each sequence',
};
const DASHES = ['', '6 3', '2 3', '8 3 2 3'];

/**
 * Lines of each side; where contexts differ they are the axis, and batches are told apart by dashes.
 *
 * @param all every side of the report: one has the same colour in all plots
 */
function plotOf(caption: string, marks: readonly Mark[], all: readonly string[]): PlotBlock[] {
  if (marks.length === 0) return [];
  const sides = all.filter((name) => marks.some(({ side }) => side === name));
  const contexts = distinct(marks.map(({ context }) => context));
  const batches = distinct(marks.map(({ batch }) => batch));
  const axis: Axis = contexts.length > 1 ? 'context' : 'batch';
  const stroke = ({ side }: Mark) => colourOf(all.indexOf(side));
  const lines = axis === 'batch' ? [undefined] : batches;
  return [
    {
      caption,
      legend: [
        ...sides.map((name) => ({ name, colour: colourOf(all.indexOf(name)) })),
        ...(axis === 'batch' || batches.length < 2
          ? []
          : batches.map((batch, index) => ({
              name: `batch ${batch}`,
              colour: 'currentColor',
              dashed: index > 0,
            }))),
      ],
      draw: () => ({
        marginLeft: 56,
        marginBottom: 40,
        x: {
          type: 'log',
          label: LABELS[axis],
          ticks: axis === 'batch' ? batches : contexts,
          tickFormat: String,
        },
        y: { type: 'log', label: null, grid: true, tickFormat: ',~r', ticks: 5 },
        marks: [
          ...lines.map((batch, index) =>
            Plot.line(
              marks.filter((mark) => batch === undefined || mark.batch === batch),
              {
                x: axis,
                y: 'value',
                z: 'side',
                stroke,
                strokeDasharray: DASHES[index % DASHES.length] ?? '',
              },
            ),
          ),
          Plot.dot(marks, {
            ...{ x: axis, y: 'value', fill: stroke, r: 3 },
            title: ({ side, batch, context, value }: Mark) =>
              `${side}, batch ${batch}, ${context} tokens: ${value.toPrecision(3)}`,
          }),
        ],
      }),
    },
  ];
}

/** Speed by content and kind of step, and for pictures how many times raw's. */
export function enginePlots(report: BenchReport): Readonly<Record<Point['content'], PlotBlock[]>> {
  const of = (content: Point['content'], kind: Point['kind']) =>
    report.points.filter((point) => point.content === content && point.kind === kind);
  const all = distinct(report.points.flatMap(({ seconds }) => Object.keys(seconds)));
  const speed = (caption: string, points: readonly Point[]) =>
    plotOf(
      caption,
      marksOf(report, points, ({ tokensPerSecond }) => tokensPerSecond),
      all,
    );
  const ratio = (row: Row) => (row.side === OWN || row.side === 'raw' ? undefined : row.ratio?.median);
  const pictures = of('pictures', 'decode');
  return {
    text: [
      ...speed('Decode, tokens/s', of('text', 'decode')),
      ...speed('Prefill, tokens/s', of('text', 'prefill')),
      ...speed('Decode beside a prefill, tokens/s', of('text', 'mixed')),
    ],
    pictures: [
      ...speed('Decode, tokens/s', pictures),
      ...plotOf('Decode, times raw’s speed', marksOf(report, pictures, ratio), all),
    ],
  };
}
