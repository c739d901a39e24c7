import { escapeHtml } from './escape.js';
import { isNumeric, numberOf } from './number-cells.js';
import { plotHtml } from './plot.js';
import type { Report, Section, Table } from './report.js';
import { SORTING } from './sorting.js';
import { STYLE } from './style.js';

/** Characters from which a cell of words is broken into lines. */
const LONG_CELL = 60;

function cellHtml(text: string, numeric: boolean): string {
  const number = numeric ? numberOf(text) : undefined;
  const classes = [...(numeric ? ['number'] : []), ...(text.length > LONG_CELL ? ['long'] : [])];
  const named = classes.length === 0 ? '' : ` class="${classes.join(' ')}"`;
  return `<td${named}${number === undefined ? '' : ` data-number="${number}"`}>${escapeHtml(text)}</td>`;
}

function tableHtml({ columns, rows }: Table, title: string): string {
  const numeric = columns.map((_, column) => isNumeric(rows.map((row) => row[column] ?? '')));
  const head = columns.map(
    (name, column) =>
      `<th scope="col"${numeric[column] === true ? ' class="number"' : ''}><button type="button">${escapeHtml(name)}</button></th>`,
  );
  const body = rows.map(
    (row) => `<tr>${row.map((text, column) => cellHtml(text, numeric[column] === true)).join('')}</tr>`,
  );
  return `<div class="table" tabindex="0" role="region" aria-label="${escapeHtml(title)}"><table>
<thead><tr>${head.join('')}</tr></thead>
<tbody>
${body.join('\n')}
</tbody></table></div>`;
}

function sectionHtml({ title, note, plots = [], table, detail }: Section): string {
  const inside = [
    ...(note === undefined ? [] : [`<p>${escapeHtml(note)}</p>`]),
    ...plots.map(plotHtml),
    ...(table === undefined ? [] : [tableHtml(table, title)]),
  ].join('\n');
  return detail === true
    ? `<details><summary>${escapeHtml(title)}</summary>\n${inside}\n</details>`
    : `<section><h2>${escapeHtml(title)}</h2>\n${inside}\n</section>`;
}

/**
 * A page that needs nothing from elsewhere: style, plots and the script that sorts tables are in it. Without scripts
 * everything can be read, in the order in which it was written.
 */
export function renderHtml({ title, summary, figures, sections, provenance }: Report): string {
  const numbers = figures.map(
    ({ value, label }) => `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd></div>`,
  );
  const how = provenance.map(
    ([name, value]) => `<dt>${escapeHtml(name)}</dt><dd><code>${escapeHtml(value)}</code></dd>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<p class="summary">${escapeHtml(summary)}</p>
${numbers.length === 0 ? '' : `<dl class="figures">${numbers.join('')}</dl>`}
${sections.map(sectionHtml).join('\n')}
<section><h2>How to measure it again</h2>
<dl class="provenance">${how.join('\n')}</dl></section>
</main>
<script>${SORTING}</script>
</body>
</html>
`;
}
