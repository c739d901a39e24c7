import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { isNumeric, numberOf } from './number-cells.js';
import { linesPlot, renderHtml, renderMarkdown, type Report } from './index.js';
import { SORTING } from './sorting.js';

const REPORT: Report = {
  title: 'Speed <fast>',
  summary: 'One is “quicker” & smaller.',
  figures: [{ value: '2.5×', label: 'as fast' }],
  sections: [
    {
      title: 'Runs',
      note: 'Five runs | each.',
      plots: [
        {
          caption: 'Size & "time"',
          legend: [{ name: 'ours <x>', colour: '#0072b2' }],
          key: ['first'],
          draw: () => ({ marks: [Plot.dot([{ x: 1, y: 2 }], { x: 'x', y: 'y' })] }),
        },
      ],
      table: {
        columns: ['side', 'ms', 'ratio'],
        rows: [
          ['b|c', '10.5 [9, 12]', '–'],
          ['a', '9', '1,200'],
          ['c', '–', '-3 %'],
        ],
      },
    },
    { title: 'Folded', table: { columns: ['x'], rows: [['1']] }, detail: true },
  ],
  provenance: [['command', 'run <it>']],
};

function page() {
  const { document } = parseHTML(renderHtml(REPORT));
  return document;
}

describe('numbers of cells', () => {
  it.each([
    ['10.5 [9, 12]', 10.5],
    ['1,200', 1200],
    ['-3 %', -3],
    ['+0.25 [0, 1]', 0.25],
    ['1e-5', 1e-5],
    ['.5', 0.5],
    ['–', undefined],
    ['q8 rows', undefined],
    ['', undefined],
  ])('%s begins with %s', (cell, number) => {
    expect(numberOf(cell)).toBe(number);
  });

  it('takes a column for one of numbers when all that is there begins with one', () => {
    expect(isNumeric(['1', '–', '2 %'])).toBe(true);
    expect(isNumeric(['1', 'q8'])).toBe(false);
    expect(isNumeric(['–', ''])).toBe(false);
  });
});

describe('the page', () => {
  it('escapes what it is given, wherever it stands', () => {
    const html = renderHtml(REPORT);
    expect(html).not.toMatch(/<fast>|<x>|<it>/);
    const document = page();
    expect(document.querySelector('h1')?.textContent).toBe('Speed <fast>');
    expect(document.querySelector('figcaption')?.textContent).toBe('Size & "time"');
    expect(document.querySelector('.provenance code')?.textContent).toBe('run <it>');
  });

  it('needs nothing from elsewhere', () => {
    expect(renderHtml(REPORT)).not.toMatch(/<link|<img|src=|href=|@import|url\(/);
  });

  it('draws each plot for three kinds of screens and names it for those who do not see it', () => {
    const drawings = [...page().querySelectorAll('svg')];
    expect(drawings.map((svg) => svg.getAttribute('aria-label'))).toEqual(Array(3).fill('Size & "time"'));
    expect(drawings.map((svg) => svg.querySelectorAll('circle').length)).toEqual([1, 1, 1]);
    expect(new Set(drawings.map((svg) => svg.getAttribute('width'))).size).toBe(3);
  });

  it('folds details and aligns numbers', () => {
    const document = page();
    expect(document.querySelector('details summary')?.textContent).toBe('Folded');
    const numeric = [...document.querySelectorAll('section table th')].map((head) =>
      head.classList.contains('number'),
    );
    expect(numeric).toEqual([false, true, true]);
  });

  it('sorts by a column when its head is clicked, numbers as numbers, what has none last', () => {
    const document = page();
    const table = document.querySelector('table');
    // linkedom knows no `tHead`, `tBodies`, `rows` and `cells`, which every browser does
    const rows = (of: Element | null | undefined) => [...(of?.querySelectorAll('tr') ?? [])];
    for (const one of document.querySelectorAll('table')) {
      const [head, body] = [one.querySelector('thead'), one.querySelector('tbody')];
      for (const row of rows(one)) Object.defineProperty(row, 'cells', { value: [...row.children] });
      Object.defineProperty(head, 'rows', { value: rows(head) });
      Object.defineProperty(body, 'rows', { get: () => rows(body) });
      Object.defineProperties(one, { tHead: { value: head }, tBodies: { value: [body] } });
    }
    runInNewContext(SORTING, { document });
    const shown = () => rows(table?.querySelector('tbody')).map((row) => row.children[0]?.textContent);
    const click = (column: number) => table?.querySelectorAll('button')[column]?.click();
    click(1);
    expect(shown()).toEqual(['a', 'b|c', 'c']);
    click(1);
    expect(shown()).toEqual(['b|c', 'a', 'c']);
    click(2);
    expect(shown()).toEqual(['c', 'a', 'b|c']);
    click(0);
    expect(shown()).toEqual(['a', 'b|c', 'c']);
    expect(table?.querySelectorAll('th[aria-sort]')).toHaveLength(1);
  });
});

describe('lines', () => {
  const svgOf = (block: ReturnType<typeof linesPlot>) => {
    const section = { title: 's', plots: [block] };
    const { document } = parseHTML(renderHtml({ ...REPORT, sections: [section] }));
    return document.querySelector('.wide svg');
  };

  it('are drawn with their points and spans, and named where there are several', () => {
    const points = [
      { x: 1, y: 2, least: 1, most: 3 },
      { x: 10, y: 4 },
    ];
    const block = linesPlot(
      'Growth',
      [
        { name: 'a', points },
        { name: 'b', points, isDashed: true },
      ],
      {
        x: { type: 'log' },
      },
    );
    expect(block.legend?.map(({ name, dashed }) => [name, dashed])).toEqual([
      ['a', false],
      ['b', true],
    ]);
    const svg = svgOf(block);
    expect(svg?.querySelectorAll('[aria-label=line]')).toHaveLength(2);
    expect(svg?.querySelectorAll('[aria-label=link] path')).toHaveLength(2);
    expect(svg?.outerHTML).not.toContain('NaN');
    expect(linesPlot('Growth', [{ name: 'a', points }], { x: {} }).legend).toEqual([]);
  });
});

describe('Markdown', () => {
  it('has the sentence, the figures, the tables and where they come from', () => {
    expect(renderMarkdown(REPORT)).toBe(`# Speed <fast>

One is “quicker” & smaller.

- **2.5×** as fast

## Runs

Five runs | each.

| side | ms | ratio |
|---|---|---|
| b\\|c | 10.5 [9, 12] | – |
| a | 9 | 1,200 |
| c | – | -3 % |

## Folded

| x |
|---|
| 1 |

## How to measure it again

| | |
|---|---|
| command | run <it> |
`);
  });
});
