import { line, link, type PlotOptions } from '@observablehq/plot';
import { colourOf } from './plot.js';
import type { PlotBlock } from './report.js';

/** One line of a plot. */
export interface Series {
  readonly name: string;
  readonly points: readonly {
    readonly x: number;
    readonly y: number;
    /** Ends of the span around `y`; none is drawn when absent. */
    readonly least?: number;
    readonly most?: number;
  }[];
  /** One of the palette, by the place among the lines, when absent. */
  readonly colour?: string;
  readonly isDashed?: boolean;
  readonly isWide?: boolean;
}

export interface LinesOptions {
  readonly x: NonNullable<PlotOptions['x']>;
  readonly y?: NonNullable<PlotOptions['y']>;
}

/** Lines over one axis, with their points, spans and names; a single line has no legend. */
export function linesPlot(caption: string, series: readonly Series[], { x, y }: LinesOptions): PlotBlock {
  const drawn = series.map((one, index) => ({ ...one, colour: one.colour ?? colourOf(index) }));
  return {
    caption,
    legend:
      drawn.length < 2
        ? []
        : drawn.map(({ name, colour, isDashed = false }) => ({ name, colour, dashed: isDashed })),
    draw: () => ({
      ...{ marginLeft: 56, marginBottom: 40, x },
      y: { label: null, grid: true, ...y },
      marks: drawn.flatMap(({ points, colour: stroke, isDashed = false, isWide = false }) => [
        line(points, {
          ...{ x: 'x', y: 'y', stroke, marker: 'dot', strokeWidth: isWide ? 3 : 1.5 },
          strokeDasharray: isDashed ? '5 4' : '',
        }),
        link(
          points.filter(({ least, most }) => least !== undefined && most !== undefined),
          { x: 'x', y1: 'least', y2: 'most', stroke },
        ),
      ]),
    }),
  };
}
