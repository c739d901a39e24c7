import type { Report, Section, Table } from './report.js';

const cell = (text: string) => text.replaceAll('|', '\\|');
const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;

/** A table alone. */
export function markdownTable({ columns, rows }: Table): string {
  return [line(columns), `|${'---|'.repeat(columns.length)}`, ...rows.map(line)].join('\n');
}

function sectionText({ title, note, table }: Section): string {
  return [`## ${title}`, note, table && markdownTable(table)].filter(Boolean).join('\n\n');
}

/** Everything but the plots. */
export function renderMarkdown({ title, summary, figures, sections, provenance }: Report): string {
  const parts = [
    `# ${title}`,
    summary,
    figures.map(({ value, label }) => `- **${value}** ${label}`).join('\n'),
    ...sections.filter(({ table, note }) => table ?? note).map(sectionText),
    ['## How to measure it again', '', '| | |', '|---|---|', ...provenance.map((row) => line(row))].join(
      '\n',
    ),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}
