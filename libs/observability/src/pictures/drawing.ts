import {
  areaY,
  axisX,
  axisY,
  cell,
  line,
  lineY,
  type PlotOptions,
  rectY,
  ruleY,
  stackY,
  stackY2,
} from '@observablehq/plot';
import { colourOf, escapeHtml, svgOf } from '@kvcapsule/reporting';

import type { Colour, GaugePanel, HeatPanel, Panel, StatPanel, TimePanel } from '../dashboards/board.js';
import { written } from './values.js';

/** One series of a panel's answer, by the name that its legend gives it. */
export interface Line {
  readonly name: string;
  readonly samples: readonly { readonly seconds: number; readonly value: number }[];
}

/** What a panel is drawn into: its room, and the time that all panels show. */
export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly startSeconds: number;
  readonly endSeconds: number;
}

const COLOURS: Readonly<Record<Colour, string>> = {
  ...{ green: '#1a8f5a', yellow: '#b58900', orange: '#d55e00', red: '#d0342c' },
};
const PLAIN = '#2f7ed8';
const LEGEND_HEIGHT = 34;

interface Point {
  readonly time: Date;
  readonly value: number;
  readonly name: string;
}

function pointsOf(lines: readonly Line[]): Point[] {
  return lines.flatMap(({ name, samples }) =>
    samples.map(({ seconds, value }) => ({ time: new Date(seconds * 1000), value, name })),
  );
}

/** Colour of a value: that of the last threshold that it has reached. */
function colourAt(value: number, { thresholds = [] }: Panel): string {
  const reached = thresholds.filter(({ from }) => value >= from).at(-1);
  return reached === undefined ? PLAIN : COLOURS[reached.colour];
}

/** The inside of a panel as HTML. */
export function drawPanel(panel: Panel, lines: readonly Line[], frame: Frame): string {
  switch (panel.kind) {
    case 'stat':
      return drawStat(panel, lines, frame);
    case 'gauges':
      return drawGauges(panel, lines);
    case 'heat':
      return drawHeat(panel, lines, frame);
    case 'lines':
    case 'areas':
    case 'bars':
      return drawTimes(panel, lines, frame);
  }
}

function lastOf({ samples }: Line): number | undefined {
  return samples.findLast(({ value }) => Number.isFinite(value))?.value;
}

function drawStat(panel: StatPanel, lines: readonly Line[], frame: Frame): string {
  const [first] = lines;
  const value = first && lastOf(first);
  if (first === undefined || value === undefined)
    return `<p class="stat faint">${escapeHtml(panel.noValue ?? 'no data')}</p>`;
  const name = panel.names?.find((one) => one.value === value);
  const colour = name === undefined ? colourAt(value, panel) : COLOURS[name.colour];
  const text = name?.text ?? written(value, panel);
  const points = pointsOf([first]).filter((point) => Number.isFinite(point.value));
  const options: PlotOptions = {
    ...{ axis: null, margin: 0, marginTop: 6 },
    x: { type: 'utc', domain: [new Date(frame.startSeconds * 1000), new Date(frame.endSeconds * 1000)] },
    y: { domain: [Math.min(0, ...points.map((point) => point.value)), highest(points)] },
    marks: [
      areaY(points, { x: 'time', y: 'value', fill: colour, fillOpacity: 0.14 }),
      line(points, { x: 'time', y: 'value', stroke: colour, strokeWidth: 1.2 }),
    ],
  };
  const course = svgOf({ caption: panel.title, draw: () => options }, { width: frame.width, height: 44 });
  return `<p class="stat" style="color:${colour}">${escapeHtml(text)}</p>${panel.names === undefined ? course : ''}`;
}

function highest(points: readonly Point[]): number {
  return Math.max(1e-9, ...points.map(({ value }) => value)) * 1.05;
}

function drawGauges(panel: GaugePanel, lines: readonly Line[]): string {
  const values = lines
    .map((one) => ({ name: one.name, value: lastOf(one) ?? 0 }))
    .toSorted((a, b) => b.value - a.value);
  const most = panel.max ?? Math.max(1e-9, ...values.map(({ value }) => value));
  const rows = values.map(({ name, value }) => {
    const share = Math.max(0, Math.min(1, value / most)) * 100;
    const colour = colourAt(value, panel);
    return `<span>${escapeHtml(name)}</span><i><b style="width:${share.toFixed(1)}%;background:${colour}"></b></i><span class="value">${escapeHtml(written(value, panel))}</span>`;
  });
  return `<div class="gauges">${rows.join('')}</div>`;
}

function timeAxis(width: number): ReturnType<typeof axisX> {
  const format = (time: Date): string => time.toISOString().slice(11, 19);
  return axisX({ ticks: Math.max(2, Math.floor(width / 130)), tickFormat: format, label: null, tickSize: 0 });
}

function drawTimes(panel: TimePanel, lines: readonly Line[], frame: Frame): string {
  const points = pointsOf(lines);
  const names = lines.map(({ name }) => name);
  const colour = (point: Point): string => colourOf(names.indexOf(point.name));
  const bounds = (panel.thresholds ?? []).filter(({ from }) => Number.isFinite(from));
  const stepMs = 1000 * stepOf(lines);
  const marks = {
    lines: () => [lineY(points, { x: 'time', y: 'value', stroke: colour, z: 'name', strokeWidth: 1.6 })],
    areas: () => [
      areaY(finite(points), stackY({ x: 'time', y: 'value', fill: colour, z: 'name', fillOpacity: 0.45 })),
      lineY(finite(points), stackY2({ x: 'time', y: 'value', stroke: colour, z: 'name', strokeWidth: 1 })),
    ],
    bars: () => [
      rectY(
        finite(points),
        stackY({
          ...{ x1: 'time', x2: ({ time }: Point) => new Date(time.getTime() + stepMs), y: 'value' },
          ...{ fill: colour, z: 'name' },
        } as object),
      ),
    ],
  }[panel.kind]();
  // an axis that ends at the data; the bound is drawn where the data come near it
  const top = topOf(panel, lines);
  const shown = bounds.filter(({ from }) => from <= top);
  const options: PlotOptions = {
    ...{ marginLeft: panel.unit.endsWith('/s') ? 96 : 74, marginRight: 10, marginTop: 10, marginBottom: 22 },
    x: { type: 'utc', domain: [new Date(frame.startSeconds * 1000), new Date(frame.endSeconds * 1000)] },
    y: { domain: [0, top], label: null },
    marks: [
      axisY({
        ...{ ticks: ticksTo(top, panel), tickSize: 0, label: null },
        tickFormat: (value: number) => written(value, panel),
      }),
      ruleY([0], { strokeOpacity: 0.35 }),
      timeAxis(frame.width),
      ...marks,
      ...shown.map((bound) => ruleY([bound.from], { stroke: COLOURS[bound.colour], strokeDasharray: '6 4' })),
    ],
  };
  const drawn = svgOf({ caption: panel.title, draw: () => options }, below(frame));
  return drawn + legend(lines, panel);
}

function finite(points: readonly Point[]): Point[] {
  return points.filter(({ value }) => Number.isFinite(value));
}

function below({ width, height }: Frame): { width: number; height: number } {
  return { width, height: height - LEGEND_HEIGHT };
}

/** Bytes are counted in powers of two, so their ticks are such. */
function ticksTo(top: number, { unit }: Panel): number | number[] {
  if (unit !== 'bytes') return 4;
  const step = 2 ** Math.ceil(Math.log2(top / 4));
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, index) => index * step);
}

function stepOf(lines: readonly Line[]): number {
  const gaps = lines.flatMap(({ samples }) =>
    samples.slice(1).map(({ seconds }, index) => seconds - (samples[index]?.seconds ?? 0)),
  );
  return Math.min(...gaps, 60);
}

function topOf(panel: TimePanel, lines: readonly Line[]): number {
  if (panel.max !== undefined) return panel.max;
  const sums = new Map<number, number>();
  for (const { seconds, value } of lines.flatMap(({ samples }) => samples)) {
    if (!Number.isFinite(value)) continue;
    const before = sums.get(seconds) ?? 0;
    sums.set(seconds, panel.kind === 'lines' ? Math.max(before, value) : before + value);
  }
  const most = Math.max(0, ...sums.values());
  return most === 0 ? 1 : most * 1.08;
}

function legend(lines: readonly Line[], panel: TimePanel): string {
  const items = lines.map((one, index) => {
    const last = lastOf(one);
    const value = last === undefined ? '' : ` <span class="faint">${escapeHtml(written(last, panel))}</span>`;
    return `<li><i style="background:${colourOf(index)}"></i>${escapeHtml(one.name)}${value}</li>`;
  });
  return `<ul>${items.join('')}</ul>`;
}

/** `le` buckets count what is below them, too: each cell is what fell between two bounds. */
function cellsOf(lines: readonly Line[]): { time: Date; bound: string; count: number }[] {
  const sorted = lines
    .map((one) => ({ ...one, bound: one.name === '+Inf' ? Infinity : Number(one.name) }))
    .toSorted((a, b) => a.bound - b.bound);
  return sorted.flatMap(({ samples, name }, index) => {
    const under = new Map(sorted[index - 1]?.samples.map(({ seconds, value }) => [seconds, value]));
    return samples.map(({ seconds, value }) => ({
      time: new Date(seconds * 1000),
      bound: name,
      count: Math.max(0, value - (under.get(seconds) ?? 0)),
    }));
  });
}

function drawHeat(panel: HeatPanel, lines: readonly Line[], frame: Frame): string {
  const cells = cellsOf(lines);
  const seen = new Set(cells.filter(({ count }) => count > 0).map(({ bound }) => bound));
  const bounds = lines
    .map(({ name }) => name)
    .toSorted((a, b) => Number(b.replace('+Inf', 'Infinity')) - Number(a.replace('+Inf', 'Infinity')));
  const places = bounds.flatMap((name, index) => (seen.has(name) ? [index] : []));
  const shown = bounds.slice(Math.max(0, Math.min(...places) - 1), Math.max(...places) + 2);
  const times = [...new Set(cells.map(({ time }) => time.getTime()))].toSorted((a, b) => a - b);
  const every = Math.max(1, Math.ceil(times.length / Math.max(2, Math.floor(frame.width / 130))));
  const options: PlotOptions = {
    ...{ marginLeft: 72, marginRight: 10, marginTop: 10, marginBottom: 22, padding: 0 },
    x: { type: 'band', domain: times, label: null },
    y: { type: 'band', domain: shown, label: null },
    color: { type: 'sqrt', scheme: 'YlGnBu' },
    marks: [
      axisX(
        times.filter((_, index) => index % every === Math.floor(every / 2)),
        {
          ...{ tickSize: 0, label: null },
          tickFormat: (ms: number) => new Date(ms).toISOString().slice(11, 19),
        },
      ),
      axisY({
        ...{ tickSize: 0, label: null },
        tickFormat: (bound: string) => (bound === '+Inf' ? '> all' : `≤ ${written(Number(bound), panel)}`),
      }),
      cell(
        cells.filter(({ count, bound }) => count > 0 && shown.includes(bound)),
        { x: ({ time }: { time: Date }) => time.getTime(), y: 'bound', fill: 'count', inset: 0 },
      ),
    ],
  };
  return svgOf({ caption: panel.title, draw: () => options }, frame);
}
