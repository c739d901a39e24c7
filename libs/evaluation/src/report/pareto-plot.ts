import * as Plot from '@observablehq/plot';
import { PALETTE, type PlotBlock } from '@kvcapsule/reporting';
import type { EntryReport } from '../fidelity/entry-report.js';
import type { EvalReport } from '../fidelity/evaluate.js';
import type { Estimate } from '../statistics/statistics.js';

const [BLUE, VERMILION, GREEN, , , , GREY] = PALETTE;
const GROUP_COLOURS: Readonly<Record<EntryReport['group'], string>> = {
  ours: BLUE,
  rival: VERMILION,
  paper: GREEN,
  ablation: GREY,
};
/** A KL of nought has no place on a logarithmic axis; differences below this are rounding. */
const LEAST_KL = 1e-6;
/** In points. What loses more is drawn at the lower edge, or all others would be one line. */
const LEAST_DIFFERENCE = -6;

export type PlotKind = 'kl' | 'difference';

interface Point {
  readonly name: string;
  readonly group: EntryReport['group'];
  readonly ratio: number;
  readonly y: Estimate;
}

/** Points that no other beats in both ratio and value, in the order of their ratios. */
export function paretoFront<P extends { readonly ratio: number; readonly y: { readonly value: number } }>(
  points: readonly P[],
  better: (a: number, b: number) => boolean,
): P[] {
  const front: P[] = [];
  const byRatio = points.toSorted((a, b) => b.ratio - a.ratio || (better(a.y.value, b.y.value) ? -1 : 1));
  for (const point of byRatio) {
    const best = front.at(-1);
    if (best === undefined || better(point.y.value, best.y.value)) front.push(point);
  }
  return front.reverse();
}

/** Drawn no lower than the axis reaches. */
function pointsOf({ entries }: EvalReport, kind: PlotKind): Point[] {
  const least = kind === 'kl' ? LEAST_KL : LEAST_DIFFERENCE;
  const drawn = (value: number) => Math.max(value, least);
  return entries.flatMap(({ name, group, ratio, questions: { againstRaw } }) => {
    if (againstRaw === undefined || ratio === undefined) return [];
    const { value, low, high } = kind === 'kl' ? againstRaw.klMean : againstRaw.differencePoints;
    return [{ name, group, ratio, y: { value: drawn(value), low: drawn(low), high: drawn(high) } }];
  });
}

const YS = {
  kl: {
    label: 'KL(raw ‖ entry), nats per answer token',
    scale: { type: 'log' as const, tickFormat: (nats: number) => nats.toExponential(0) },
    better: (a: number, b: number) => a < b,
  },
  difference: {
    label: 'accuracy minus raw’s, points (what loses more stands at the edge)',
    scale: { type: 'linear' as const },
    better: (a: number, b: number) => a > b,
  },
};

/**
 * Ratio on a logarithmic axis against KL (logarithmic) or the paired difference of accuracy, with intervals; points
 * that nothing beats are numbered. Undefined where nothing is compared.
 */
export function paretoPlot(report: EvalReport, kind: PlotKind): PlotBlock | undefined {
  const points = pointsOf(report, kind);
  if (points.length === 0) return undefined;
  const { label, scale, better } = YS[kind];
  const front = paretoFront(points, better);
  const at = { x: 'ratio', y: (point: Point) => point.y.value };
  const stroke = (point: Point) => GROUP_COLOURS[point.group];
  const title = ({ name, ratio, y }: Point) => `${name}: ${ratio.toFixed(2)}×, ${y.value.toPrecision(3)}`;
  const [low, high] = [(point: Point) => point.y.low, (point: Point) => point.y.high];
  const groups = [...new Set(points.map(({ group }) => group))];
  return {
    caption: `${label}, against how many times smaller than raw 16-bit rows`,
    legend: groups.map((name) => ({ name, colour: GROUP_COLOURS[name] })),
    key: front.map(title),
    draw: ({ width }) => ({
      marginLeft: 52,
      marginBottom: 40,
      x: {
        type: 'log',
        base: 2,
        label: 'times smaller than raw',
        ticks: width < 500 ? 4 : 8,
        tickFormat: (times: number) => `${times}×`,
      },
      y: { ...scale, label: null, grid: true },
      marks: [
        Plot.line(front, { ...at, strokeDasharray: '5 4', strokeOpacity: 0.6 }),
        Plot.ruleX(points, { x: 'ratio', y1: low, y2: high, stroke }),
        Plot.dot(points, { ...at, fill: stroke, r: 3.5, title }),
        Plot.text(front, {
          ...at,
          text: (_, index) => String(index + 1),
          dx: 10,
          dy: 10,
          fontWeight: 'bold',
        }),
      ],
    }),
  };
}
