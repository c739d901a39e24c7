import { escapeXml } from './html-page.js';

/** Size of a plot and the room around what is drawn, in pixels. */
export interface PlotFrame {
  readonly width: number;
  readonly height: number;
  readonly margin: {
    readonly left: number;
    readonly right: number;
    readonly top: number;
    readonly bottom: number;
  };
}

export interface Axis {
  readonly ticks: readonly number[];
  readonly show: (value: number) => string;
  /** In pixels. */
  readonly at: (value: number) => number;
}

/** Okabe and Ito's palette: told apart without seeing red and green as different. */
export const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'] as const;

/** Pixels of values on a logarithmic axis; what is less than `low` stands there. */
export function logScale(low: number, high: number, from: number, to: number): (value: number) => number {
  const [a, b] = [Math.log(low), Math.log(high)];
  return (value) => from + ((Math.log(Math.max(value, low)) - a) / (b - a)) * (to - from);
}

/** A line across the frame for each tick, and its value beside it. */
export function gridLines({ width, height, margin }: PlotFrame, x: Axis, y: Axis): string {
  const bottom = height - margin.bottom;
  const vertical = x.ticks.map((tick) => {
    const at = x.at(tick).toFixed(1);
    return `<path d="M${at} ${margin.top}V${bottom}" class="grid"/><text x="${at}" y="${bottom + 18}" text-anchor="middle">${x.show(tick)}</text>`;
  });
  const horizontal = y.ticks.map((tick) => {
    const at = y.at(tick);
    return `<path d="M${margin.left} ${at.toFixed(1)}H${width - margin.right}" class="grid"/><text x="${margin.left - 8}" y="${(at + 4).toFixed(1)}" text-anchor="end">${y.show(tick)}</text>`;
  });
  return [...vertical, ...horizontal].join('\n');
}

/** Points joined by lines; empty without any. */
export const linePath = (points: readonly (readonly [x: number, y: number])[]): string =>
  points.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');

/** @param label what is drawn, for those who do not see it */
export function svgPlot({ width, height }: PlotFrame, label: string, shapes: readonly string[]): string {
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(label)}" font-family="system-ui, sans-serif" font-size="12" fill="currentColor">
${shapes.join('\n')}
</svg>`;
}
