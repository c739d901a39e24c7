import type { EvalReport } from '../evaluate.js';
import { paretoPlot } from './pareto-plot.js';
import { provenance, reportTables, type Table } from './tables.js';
import { escapeXml } from './xml.js';

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c1c1c; background: #fff; }
h1, h2 { line-height: 1.2; }
p { max-width: 50rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td:only-child { white-space: normal; }
svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616; } th, td { border-color: #3a3a3a; } }
`;

function tableHtml({ title, note, columns, rows }: Table): string {
  const cells = (tag: string, values: readonly string[]) =>
    `<tr>${values.map((value) => `<${tag}>${escapeXml(value)}</${tag}>`).join('')}</tr>`;
  const body = rows.map((row) => cells('td', row)).join('\n');
  return `<h2>${escapeXml(title)}</h2>\n<p>${escapeXml(note)}</p>\n<div><table>\n<thead>${cells('th', columns)}</thead>\n<tbody>\n${body}\n</tbody></table></div>`;
}

/** One file that needs nothing from elsewhere: style and plots are in it, and there is no script. */
export function renderHtml(report: EvalReport): string {
  const how = provenance(report)
    .map(([name, value]) => `<dt>${escapeXml(name)}</dt><dd><code>${escapeXml(value)}</code></dd>`)
    .join('\n');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Fidelity on the demo task</title>
<style>${STYLE}</style>
</head>
<body>
<h1>Fidelity on the demo task</h1>
${paretoPlot(report, 'kl')}
${paretoPlot(report, 'difference')}
${reportTables(report).map(tableHtml).join('\n')}
<h2>How to measure it again</h2>
<dl>
${how}
</dl>
</body>
</html>
`;
}
