import { describe, expect, it } from 'vitest';

import type { Panel } from '../dashboards/board.js';
import { BOARDS } from '../dashboards/index.js';
import { drawPanel, type Line } from './drawing.js';
import { dashboardPage, nameOf, pageSize } from './page.js';
import { written } from './values.js';

const SIZE = { width: 380, height: 200, startSeconds: 1_700_000_000, endSeconds: 1_700_000_060 };
const about = { title: 'A panel', description: 'What it shows.', width: 8 } as const;
const query = { expr: 'a', legend: 'a' };
const line = (name: string, ...values: number[]): Line => ({
  name,
  samples: values.map((value, index) => ({ seconds: 1_700_000_000 + index * 5, value })),
});

describe('values', () => {
  it.each([
    [0.0000005, 's', '0.5 µs'],
    [0.0123, 's', '12.3 ms'],
    [2.5, 's', '2.5 s'],
    [60, 's', '60 s'],
    [3 * 1024 * 1024, 'bytes', '3 MiB'],
    [0.995, 'percentunit', '99.5 %'],
    [3.44, 'times', '3.4×'],
    [1_500, 'tokens/s', '1.5 k tokens/s'],
    [2, 'none', '2'],
  ] as const)('%d of %s is written %s', (value, unit, text) => {
    expect(written(value, { unit })).toBe(text);
  });
});

describe('panels', () => {
  it('draw each series with its name, and a bound that the data come near', () => {
    const panel: Panel = {
      ...about,
      ...{ kind: 'lines', unit: 's', queries: [query], thresholds: [{ from: 2, colour: 'red' }] },
    };
    const near = drawPanel(panel, [line('one', 1, 2, 3), line('two', 0, 1, 0)], SIZE);
    expect(near).toContain('one <span');
    expect(near).toContain('two <span');
    expect(near).toContain('stroke-dasharray');
    expect(drawPanel(panel, [line('one', 0.1, 0.2)], SIZE)).not.toContain('stroke-dasharray');
  });

  it('colour a number by the last threshold that it has reached', () => {
    const panel: Panel = {
      ...about,
      ...{ kind: 'stat', unit: 'percentunit', query },
      thresholds: [
        { from: -Infinity, colour: 'red' },
        { from: 0.99, colour: 'green' },
      ],
    };
    expect(drawPanel(panel, [line('a', 0.5)], SIZE)).toContain('color:#d0342c">50 %');
    expect(drawPanel(panel, [line('a', 0.5, 1, NaN)], SIZE)).toContain('color:#1a8f5a">100 %');
    expect(drawPanel(panel, [], SIZE)).toContain('no data');
  });

  it('draw of a histogram what fell between two bounds, and no bucket far from the data', () => {
    const panel: Panel = { ...about, kind: 'heat', unit: 's', query };
    const drawn = drawPanel(
      panel,
      [line('0.1', 0, 0), line('1', 4, 6), line('10', 4, 6), line('+Inf', 4, 6)],
      SIZE,
    );
    expect(drawn.match(/<rect/g)).toHaveLength(2);
    expect(drawn).toContain('≤ 1 s');
    expect(drawn).not.toContain('&gt; all');
  });

  it('draw the newest value of each series as a bar', () => {
    const panel: Panel = { ...about, kind: 'gauges', unit: 'bytes', query };
    const drawn = drawPanel(panel, [line('small', 9, 1024), line('large', 4096)], SIZE);
    expect(drawn).toMatch(/large.*width:100\.0%.*4 KiB.*small.*width:25\.0%.*1 KiB/);
  });
});

describe('a page', () => {
  it.each(BOARDS)('of $name has all its rows and panels, also without data', (board) => {
    const page = dashboardPage(board, () => [], SIZE, 'dark');
    for (const { title, panels } of board.rows) {
      expect(page).toContain(`<h2>${title}</h2>`);
      expect(panels.length).toBeGreaterThan(0);
    }
    expect(page.match(/class="panel"/g)).toHaveLength(board.rows.flatMap(({ panels }) => panels).length);
    expect(pageSize(board).height).toBeGreaterThan(300);
  });

  it('names series by Grafana’s legends', () => {
    expect(nameOf('{{kind}} of {{part}}', { kind: 'hit' })).toBe('hit of ');
  });
});
