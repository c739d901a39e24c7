import { escapeXml, htmlPage } from '@kvcapsule/evaluation/report';
import type { Point } from './measure.js';
import { OWN, renderMarkdown, rowsOf, type BenchReport } from './report.js';

const WIDTH = 620;
const HEIGHT = 340;
const MARGIN = { left: 64, right: 150, top: 28, bottom: 44 };
/** Okabe and Ito's palette: told apart without seeing red and green as different. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];
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
  const [low, high] = [Math.log(Math.min(...values)) - 0.05, Math.log(Math.max(...values)) + 0.05];
  return (value) => from + ((Math.log(value) - low) / (high - low)) * (to - from);
}

/** 1, 2 and 5 of every decade inside the values. */
function ticks(values: readonly number[]): number[] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const decades = Array.from({ length: 14 }, (_, power) => 10 ** (power - 4));
  return decades
    .flatMap((decade) => [decade, 2 * decade, 5 * decade])
    .filter((tick) => tick >= low && tick <= high);
}

/** Logarithmic on both axes; empty when there is nothing to draw. */
export function drawChart({ title, y, lines }: Chart): string {
  const drawn = lines.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return '';
  const xs = drawn.flatMap(({ points }) => points.map(([x]) => x));
  const ys = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  const right = WIDTH - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const [xAt, yAt] = [scale(xs, MARGIN.left, right), scale(ys, bottom, MARGIN.top)];
  const place = ([x, value]: readonly [number, number]) => `${xAt(x).toFixed(1)} ${yAt(value).toFixed(1)}`;
  const paths = drawn.map(({ name, colour, dash, points }, index) => {
    const at = MARGIN.top + 12 + 14 * index;
    const style = `stroke="${colour}" stroke-dasharray="${dash}" fill="none" stroke-width="1.6"`;
    const dots = points.map((point) => {
      const [cx, cy] = place(point).split(' ');
      return `<circle cx="${cx}" cy="${cy}" r="2.6" fill="${colour}"/>`;
    });
    const key = `<path d="M${right + 8} ${at - 4}h18" ${style}/><text x="${right + 30}" y="${at}">${escapeXml(name)}</text>`;
    return `<path d="M${points.map(place).join('L')}" ${style}/>${dots.join('')}${key}`;
  });
  const grid = [
    ...ticks(ys).map((tick) => {
      const at = yAt(tick).toFixed(1);
      return `<path d="M${MARGIN.left} ${at}H${right}" class="grid"/><text x="${MARGIN.left - 6}" y="${at}" text-anchor="end">${tick}</text>`;
    }),
    ...[...new Set(xs)].map((x) => {
      const at = xAt(x).toFixed(1);
      return `<path d="M${at} ${MARGIN.top}V${bottom}" class="grid"/><text x="${at}" y="${bottom + 16}" text-anchor="middle">${x}</text>`;
    }),
  ];
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" font-size="11" role="img" aria-label="${escapeXml(title)}">
<text x="${MARGIN.left}" y="16" font-size="13" font-weight="600">${escapeXml(title)}: ${escapeXml(y)}</text>
${grid.join('\n')}
${paths.join('\n')}
<text x="${(MARGIN.left + right) / 2}" y="${HEIGHT - 8}" text-anchor="middle">tokens of each sequence</text>
</svg>`;
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
