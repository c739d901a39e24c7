import type { EvalReport } from '../fidelity/evaluate.js';
import { provenance, reportTables, type Table } from './tables.js';

const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;

function tableText({ title, note, columns, rows }: Table): string {
  const rule = `|${'---|'.repeat(columns.length)}`;
  return [`## ${title}`, note, '', line(columns), rule, ...rows.map(line)].join('\n');
}

/** The tables and everything needed to make them again. */
export function renderMarkdown(report: EvalReport): string {
  const asked = report.entries[0]?.questions.questions ?? 0;
  const intro =
    `Exact match of the whole answer, greedy decoding, ${asked} questions about ${report.scenes.questions} generated scenes ` +
    `that no fit saw. An entry decodes on its own from the token where it leaves raw’s answer; elsewhere the two answers are one.`;
  const how = provenance(report).map(([name, value]) =>
    line([name, name === 'command' ? `\`${value}\`` : value]),
  );
  return `${['# Fidelity on the demo task', intro, ...reportTables(report).map((table) => `\n${tableText(table)}`), '', '| | |', '|---|---|', ...how].join('\n')}\n`;
}
