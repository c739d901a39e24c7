import type { EntryReport } from '../fidelity/entry-report.js';
import type { EvalReport } from '../fidelity/evaluate.js';
import type { Estimate } from '../statistics/statistics.js';
import { escapeXml } from './html-page.js';
import { type Axis, COLOURS, gridLines, linePath, logScale, type PlotFrame, svgPlot } from './svg-plot.js';

const FRAME: PlotFrame = { width: 860, height: 440, margin: { left: 76, right: 24, top: 34, bottom: 52 } };
const { width: WIDTH, height: HEIGHT, margin: MARGIN } = FRAME;
const [BLUE, VERMILION, GREEN] = COLOURS;
const GROUP_COLOURS: Readonly<Record<EntryReport['group'], string>> = {
  ours: BLUE,
  rival: VERMILION,
  paper: GREEN,
  ablation: '#999999',
};
/** A KL of nought has no place on a logarithmic axis; differences below this are rounding. */
const LEAST_KL = 1e-6;

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

function pointsOf({ entries }: EvalReport, kind: PlotKind): Point[] {
  return entries.flatMap(({ name, group, ratio, questions: { againstRaw } }) => {
    if (againstRaw === undefined || ratio === undefined) return [];
    return [{ name, group, ratio, y: kind === 'kl' ? againstRaw.klMean : againstRaw.differencePoints }];
  });
}

function ratioAxis(points: readonly Point[]): Axis {
  const ratios = points.map(({ ratio }) => ratio);
  const [low, high] = [Math.min(1, ...ratios) * 0.9, Math.max(2, ...ratios) * 1.3];
  const ticks = [0.5, 1, 2, 4, 8, 16, 32, 64, 128].filter((tick) => tick >= low && tick <= high);
  const at = logScale(low, high, MARGIN.left, WIDTH - MARGIN.right);
  return { ticks, show: (value) => `${value}×`, at };
}

function klAxis(points: readonly Point[]): Axis {
  const values = points.map(({ y }) => Math.max(y.value, LEAST_KL));
  const [from, to] = [
    Math.floor(Math.log10(Math.min(...values))),
    Math.ceil(Math.log10(Math.max(...values))),
  ];
  const last = to > from ? to : from + 1;
  const ticks = Array.from({ length: last - from + 1 }, (_, decade) => 10 ** (from + decade));
  const at = logScale(10 ** from, 10 ** last, HEIGHT - MARGIN.bottom, MARGIN.top);
  return { ticks, show: (value) => (value >= 0.01 ? String(value) : value.toExponential(0)), at };
}

/** What loses more than this is drawn at the lower edge, or all others would be one line. */
const LEAST_DIFFERENCE = -6;

function differenceAxis(points: readonly Point[]): Axis {
  const low = Math.min(-0.5, ...points.map(({ y }) => Math.max(y.low, LEAST_DIFFERENCE)));
  const high = Math.max(0.5, ...points.map(({ y }) => y.high));
  const step = [0.25, 0.5, 1, 2, 5, 10, 20].find((candidate) => (high - low) / candidate <= 8) ?? 50;
  const [first, last] = [Math.floor(low / step), Math.ceil(high / step)];
  const ticks = Array.from({ length: last - first + 1 }, (_, tick) => (first + tick) * step);
  const [bottom, height] = [HEIGHT - MARGIN.bottom, HEIGHT - MARGIN.bottom - MARGIN.top];
  const at = (value: number) => {
    const share = (value - first * step) / ((last - first) * step);
    return bottom - Math.max(0, share) * height;
  };
  return { ticks, show: (value) => value.toFixed(step < 1 ? 2 : 0), at };
}

const LABEL_HEIGHT = 11;
const CHARACTER_WIDTH = 5.6;

interface Label {
  readonly left: number;
  readonly right: number;
  readonly bottom: number;
}

/** Above right of its point, or as much higher as the labels placed before leave room. */
function placeLabel(name: string, x: number, y: number, placed: Label[]): Label {
  const width = name.length * CHARACTER_WIDTH;
  const left = Math.min(x + 7, WIDTH - MARGIN.right - width);
  let bottom = y - 6;
  const covers = (other: Label) =>
    left < other.right && left + width > other.left && Math.abs(bottom - other.bottom) < LABEL_HEIGHT;
  for (let other = placed.find(covers); other !== undefined; other = placed.find(covers)) {
    bottom = other.bottom - LABEL_HEIGHT;
  }
  const label = { left, right: left + width, bottom };
  placed.push(label);
  return label;
}

function marks(points: readonly Point[], xAxis: Axis, yAxis: Axis): string {
  const placed: Label[] = [];
  const lowestFirst = points.toSorted((a, b) => yAxis.at(b.y.value) - yAxis.at(a.y.value));
  const drawn = lowestFirst.map(({ name, group, ratio, y }) => {
    const [x, middle] = [xAxis.at(ratio), yAxis.at(y.value)];
    const label = placeLabel(name, x, middle, placed);
    const title = escapeXml(`${name}: ${ratio.toFixed(2)}×, ${y.value.toPrecision(3)}`);
    const bar = `M${x.toFixed(1)} ${yAxis.at(y.high).toFixed(1)}V${yAxis.at(y.low).toFixed(1)}`;
    return `<g stroke="${GROUP_COLOURS[group]}" fill="${GROUP_COLOURS[group]}"><title>${title}</title><path d="${bar}" stroke-width="1.5"/><circle cx="${x.toFixed(1)}" cy="${middle.toFixed(1)}" r="4"/><text x="${label.left.toFixed(1)}" y="${label.bottom.toFixed(1)}" stroke="none" font-size="10.5">${escapeXml(name)}</text></g>`;
  });
  return drawn.join('\n');
}

function legend(points: readonly Point[]): string {
  const groups = [...new Set(points.map(({ group }) => group))];
  return groups
    .map(
      (group, index) =>
        `<circle cx="${MARGIN.left + 10 + index * 100}" cy="14" r="4.5" fill="${GROUP_COLOURS[group]}"/><text x="${MARGIN.left + 20 + index * 100}" y="18">${group}</text>`,
    )
    .join('');
}

/** Ratio on a logarithmic axis against KL (logarithmic) or the paired difference of accuracy, with intervals. */
export function paretoPlot(report: EvalReport, kind: PlotKind): string {
  const points = pointsOf(report, kind);
  if (points.length === 0) return '';
  const x = ratioAxis(points);
  const y = kind === 'kl' ? klAxis(points) : differenceAxis(points);
  const better = (a: number, b: number) => (kind === 'kl' ? a < b : a > b);
  const front = paretoFront(points, better);
  const path = linePath(front.map((point) => [x.at(point.ratio), y.at(point.y.value)]));
  const label =
    kind === 'kl'
      ? 'KL(raw ‖ entry), nats per answer token'
      : 'accuracy minus raw’s, points (what loses more stands at the edge)';
  const shapes = [
    gridLines(FRAME, x, y),
    `<path d="${path}" fill="none" stroke="currentColor" stroke-dasharray="5 4" opacity=".6"/>`,
    marks(points, x, y),
    legend(points),
    `<text x="${(WIDTH + MARGIN.left) / 2}" y="${HEIGHT - 12}" text-anchor="middle">times smaller than raw 16-bit rows, markers and rounding counted</text>`,
    `<text transform="translate(18 ${HEIGHT / 2}) rotate(-90)" text-anchor="middle">${label}</text>`,
  ];
  return `<figure>${svgPlot(FRAME, `${label} against ratio`, shapes)}</figure>`;
}
