import {
  COLOURS,
  escapeXml,
  gridLines,
  htmlPage,
  linePath,
  logScale,
  type PlotFrame,
  svgPlot,
} from '@kvcapsule/evaluation/report';
import type { Point } from './measure.js';
import { OWN, renderMarkdown, rowsOf, type BenchReport } from './report.js';

const FRAME: PlotFrame = { width: 620, height: 340, margin: { left: 64, right: 150, top: 28, bottom: 44 } };
const DASHES = ['', '6 3', '2 3', '8 3 2 3'];

interface Line {
  readonly name: string;
  readonly colour: string;
  readonly dash: string;
  readonly points: readonly (readonly [number, number])[];
}

interface Chart {
  readonly title: string;
  readonly y: string;
  readonly lines: readonly Line[];
}

/** One line for every side and batch, over the contexts. */
function linesOf(
  report: BenchReport,
  points: readonly Point[],
  value: (row: ReturnType<typeof rowsOf>[number]) => number | undefined,
): Line[] {
  const batches = [...new Set(points.map(({ batch }) => batch))];
  const sides = [...new Set(points.flatMap(({ seconds }) => Object.keys(seconds)))];
  return sides.flatMap((side, colour) =>
    batches.map((batch, dash) => ({
      name: `${side}, batch ${batch}`,
      colour: COLOURS[colour % COLOURS.length] ?? 'black',
      dash: DASHES[dash % DASHES.length] ?? '',
      points: points
        .filter((point) => point.batch === batch)
        .flatMap((point) => {
          const row = rowsOf(report, point).find((one) => one.side === side);
          const y = row && value(row);
          return y === undefined ? [] : [[point.context, y] as const];
        }),
    })),
  );
}

function chartsOf(report: BenchReport): Chart[] {
  const of = (content: Point['content'], kind: Point['kind']) =>
    report.points.filter((point) => point.content === content && point.kind === kind);
  const perSecond = (row: ReturnType<typeof rowsOf>[number]) => row.tokensPerSecond;
  const ratio = (row: ReturnType<typeof rowsOf>[number]) =>
    row.side === OWN || row.side === 'raw' ? undefined : row.ratio?.median;
  return [
    { title: 'Text, decode', y: 'tokens/s', lines: linesOf(report, of('text', 'decode'), perSecond) },
    { title: 'Text, prefill', y: 'tokens/s', lines: linesOf(report, of('text', 'prefill'), perSecond) },
    {
      title: 'Text, decode beside a prefill',
      y: 'tokens/s',
      lines: linesOf(report, of('text', 'mixed'), perSecond),
    },
    { title: 'Pictures, decode', y: 'tokens/s', lines: linesOf(report, of('pictures', 'decode'), perSecond) },
    { title: 'Pictures, decode', y: 'times raw', lines: linesOf(report, of('pictures', 'decode'), ratio) },
  ];
}

function scale(values: readonly number[], from: number, to: number): (value: number) => number {
  return logScale(Math.min(...values) * 0.95, Math.max(...values) * 1.05, from, to);
}

/** 1, 2 and 5 of every decade inside the values. */
function ticks(values: readonly number[]): number[] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const decades = Array.from({ length: 14 }, (_, power) => 10 ** (power - 4));
  return decades
    .flatMap((decade) => [decade, 2 * decade, 5 * decade])
    .filter((tick) => tick >= low && tick <= high);
}

/** The line with its dots, and its name beside the frame. */
function drawLine(
  { name, colour, dash }: Line,
  places: readonly (readonly [number, number])[],
  index: number,
): string {
  const right = FRAME.width - FRAME.margin.right;
  const at = FRAME.margin.top + 12 + 14 * index;
  const style = `stroke="${colour}" stroke-dasharray="${dash}" fill="none" stroke-width="1.6"`;
  const dots = places.map(
    ([x, y]) => `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="2.6" fill="${colour}"/>`,
  );
  const key = `<path d="M${right + 8} ${at - 4}h18" ${style}/><text x="${right + 30}" y="${at}">${escapeXml(name)}</text>`;
  return `<path d="${linePath(places)}" ${style}/>${dots.join('')}${key}`;
}

/** Logarithmic on both axes; empty when there is nothing to draw. */
export function drawChart({ title, y, lines }: Chart): string {
  const drawn = lines.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return '';
  const { width, height, margin } = FRAME;
  const xs = drawn.flatMap(({ points }) => points.map(([x]) => x));
  const ys = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  const right = width - margin.right;
  const [xAt, yAt] = [scale(xs, margin.left, right), scale(ys, height - margin.bottom, margin.top)];
  const paths = drawn.map((line, index) => {
    const places = line.points.map(([x, value]) => [xAt(x), yAt(value)] as const);
    return drawLine(line, places, index);
  });
  const label = `${title}: ${y}`;
  return svgPlot(FRAME, label, [
    `<text x="${margin.left}" y="16" font-size="13" font-weight="600">${escapeXml(label)}</text>`,
    gridLines(
      FRAME,
      { ticks: [...new Set(xs)], show: String, at: xAt },
      { ticks: ticks(ys), show: String, at: yAt },
    ),
    ...paths,
    `<text x="${(margin.left + right) / 2}" y="${height - 8}" text-anchor="middle">tokens of each sequence</text>`,
  ]);
}

/** Charts, and under them the report as it stands in Markdown. */
export function renderHtml(report: BenchReport): string {
  const charts = chartsOf(report).map(drawChart);
  const measured = `${report.machine}, ${report.date}, commit ${report.commit}`;
  const body = `<p>${escapeXml(measured)}</p>
${charts.join('\n')}
<pre>${escapeXml(renderMarkdown(report))}</pre>`;
  return htmlPage('Engine benchmark', body);
}
