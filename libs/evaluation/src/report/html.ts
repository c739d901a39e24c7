import { escapeXml, htmlPage } from './html-page.js';
import type { EvalReport } from '../fidelity/evaluate.js';
import { paretoPlot } from './pareto-plot.js';
import { provenance, reportTables, type Table } from './tables.js';

function tableHtml({ title, note, columns, rows }: Table): string {
  const cells = (tag: string, values: readonly string[]) =>
    `<tr>${values.map((value) => `<${tag}>${escapeXml(value)}</${tag}>`).join('')}</tr>`;
  const body = rows.map((row) => cells('td', row)).join('\n');
  return `<h2>${escapeXml(title)}</h2>\n<p>${escapeXml(note)}</p>\n<div><table>\n<thead>${cells('th', columns)}</thead>\n<tbody>\n${body}\n</tbody></table></div>`;
}

/** Plots and tables, and how to measure them again. */
export function renderHtml(report: EvalReport): string {
  const how = provenance(report)
    .map(([name, value]) => `<dt>${escapeXml(name)}</dt><dd><code>${escapeXml(value)}</code></dd>`)
    .join('\n');
  const body = `${paretoPlot(report, 'kl')}
${paretoPlot(report, 'difference')}
${reportTables(report).map(tableHtml).join('\n')}
<h2>How to measure it again</h2>
<dl>
${how}
</dl>`;
  return htmlPage('Fidelity on the demo task', body);
}
