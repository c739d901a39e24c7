import { describe, expect, it } from 'vitest';

import { dashboard } from '../grafana/dashboard.js';
import { chosen } from '../grafana/variables.js';
import { unknownIn } from '../promql/known.js';
import { read } from '../promql/promql.js';
import { type Panel, panelsOf, queriesOf } from './board.js';
import { BOARDS } from './index.js';

const COLUMNS = 24;
const panels = BOARDS.flatMap((board) =>
  panelsOf(board).map((panel) => ({ name: `${board.name}: ${panel.title}`, panel })),
);

it('the choice of a model is of routers’ metrics by model and of the workers that serve it', () => {
  const labels = (expr: string) => read(chosen(expr)).selectors.flatMap((selector) => selector.labels);
  expect(labels('kvcapsule_worker_pages')).toEqual(['namespace', 'model', 'instance']);
  expect(labels('kvcapsule_router_tokens_total')).toEqual(['namespace', 'model']);
  expect(labels('kvcapsule_router_processes')).toEqual(['namespace']);
});

describe.each(panels)('$name', ({ panel }: { panel: Panel }) => {
  it('asks for metrics and labels that there are', () => {
    for (const { expr } of queriesOf(panel)) expect(unknownIn(expr)).toEqual([]);
  });

  it('is still PromQL about the same metrics once the choice is in it', () => {
    for (const { expr } of queriesOf(panel)) {
      const metrics = (text: string): string[] => read(text).selectors.map(({ metric }) => metric);
      expect(metrics(chosen(expr))).toEqual(metrics(expr));
      for (const { labels } of read(chosen(expr)).selectors) expect(labels).toContain('namespace');
    }
  });

  it('says what it shows, names its series and rises with its thresholds', () => {
    expect(panel.description).toMatch(/\.$/);
    for (const { legend } of queriesOf(panel)) expect(legend).not.toBe('');
    const steps = (panel.thresholds ?? []).map(({ from }) => from);
    expect(steps).toEqual(steps.toSorted((a, b) => a - b));
  });
});

it('what stands on two dashboards under one title is one panel', () => {
  const all = BOARDS.flatMap((board) => panelsOf(board));
  const first = new Map(all.toReversed().map((panel) => [panel.title, panel]));
  for (const panel of all) expect({ ...panel, width: 0 }).toEqual({ ...first.get(panel.title), width: 0 });
});

describe.each(BOARDS)('the dashboard $name', (board) => {
  it('fills whole lines with panels of one height', () => {
    for (const { title, panels: row } of board.rows) {
      const width = row.reduce((sum, panel) => sum + panel.width, 0);
      expect(width % COLUMNS, `${title} of ${board.name}`).toBe(0);
    }
  });

  it('has no two panels in one place, and each has an id of its own', () => {
    const { panels: placed = [] } = dashboard(board);
    const cells = placed.flatMap(({ gridPos }) => {
      if (gridPos === undefined) throw new Error('a panel without a place');
      const { x, y, w, h } = gridPos;
      expect(x + w).toBeLessThanOrEqual(COLUMNS);
      return Array.from(
        { length: w * h },
        (_, cell) => `${String(x + (cell % w))},${String(y + Math.floor(cell / w))}`,
      );
    });
    expect(new Set(cells).size).toBe(cells.length);
    expect(new Set(placed.map(({ id }) => id)).size).toBe(placed.length);
  });

  it('names every panel once', () => {
    const titles = panelsOf(board).map(({ title }) => title);
    expect(new Set(titles).size).toBe(titles.length);
  });
});
