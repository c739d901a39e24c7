import { escapeHtml } from '@kvcapsule/reporting';

import type { Board, Panel } from '../dashboards/board.js';
import { drawPanel, type Line } from './drawing.js';

/** Of one cell of Grafana's grid of 24 columns, and between panels. */
const COLUMN = 50;
const ROW = 30;
const GAP = 8;
const HEAD = 34;
const HEIGHT = { stat: 5, lines: 8, areas: 8, bars: 8, heat: 8, gauges: 8 };

const STYLE = `
* { box-sizing: border-box; }
body { margin: 0; padding: 16px; width: ${String(24 * COLUMN + 32)}px; font: 13px/1.35 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
.light { --ink: #1c1c1c; --faint: #6a6f77; --paper: #f2f3f5; --card: #fff; --line: #dfe2e6; --track: #e8eaee; }
.dark { --ink: #dcdde0; --faint: #9aa0a8; --paper: #111217; --card: #181b1f; --line: #2a2e35; --track: #2a2e35; }
h1 { font-size: 19px; margin: 0 0 2px; } h2 { font-size: 14px; margin: 16px 0 6px; }
header p { margin: 0; color: var(--faint); }
.row { display: grid; grid-template-columns: repeat(24, 1fr); gap: ${String(GAP)}px; }
.panel { background: var(--card); border: 1px solid var(--line); border-radius: 4px; padding: 7px 10px; overflow: hidden; position: relative; }
.panel h3 { font-size: 12.5px; margin: 0 0 2px; height: ${String(HEAD - 16)}px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.panel svg { display: block; }
.stat { font-size: 32px; font-weight: 600; text-align: center; margin: 8px 0 0; }
.stat ~ svg { position: absolute; left: 0; bottom: 0; width: 100%; }
.faint { color: var(--faint); }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0 12px; margin: 4px 0 0; padding: 0; font-size: 11.5px; max-height: 32px; overflow: hidden; }
li i { display: inline-block; width: 12px; height: 3px; vertical-align: middle; margin-right: 5px; border-radius: 1px; }
.gauges { display: grid; grid-template-columns: max-content 1fr max-content; gap: 5px 10px; align-items: center; margin-top: 8px; font-size: 12px; }
.gauges i { background: var(--track); height: 12px; border-radius: 2px; } .gauges b { display: block; height: 100%; border-radius: 2px; }
.value { text-align: right; font-variant-numeric: tabular-nums; }
`;

/** The time that is shown. */
export interface Span {
  readonly startSeconds: number;
  readonly endSeconds: number;
}

/** What Prometheus answered to a panel's queries. */
export type Answers = (panel: Panel) => readonly Line[];

function panelHtml(panel: Panel, lines: readonly Line[], { startSeconds, endSeconds }: Span): string {
  const height = (panel.height ?? HEIGHT[panel.kind]) * ROW;
  const room = { width: panel.width * COLUMN - GAP - 22, height: height - HEAD - 6 };
  const frame = { ...room, startSeconds, endSeconds };
  return `<div class="panel" style="grid-column:span ${String(panel.width)};height:${String(height)}px"><h3>${escapeHtml(panel.title)}</h3>${drawPanel(panel, lines, frame)}</div>`;
}

/** A dashboard drawn from answers, in Grafana's grid; no Grafana is needed to see what it shows. */
export function dashboardPage(board: Board, answers: Answers, span: Span, theme: 'light' | 'dark'): string {
  const rows = board.rows.map(
    ({ title, panels }) =>
      `<h2>${escapeHtml(title)}</h2><div class="row">${panels.map((panel) => panelHtml(panel, answers(panel), span)).join('')}</div>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(board.title)}</title><style>${STYLE}</style></head>
<body class="${theme}"><header><h1>${escapeHtml(board.title)}</h1><p>${escapeHtml(board.description)}</p></header>
${rows.join('\n')}
</body></html>
`;
}

/** Pixels of the page, for a screenshot of all of it. */
export function pageSize(board: Board): { readonly width: number; readonly height: number } {
  const rows = board.rows.map(({ panels }) => {
    const lines = Math.round(panels.reduce((sum, { width }) => sum + width, 0) / 24);
    const [first] = panels;
    const height = first === undefined ? 0 : (first.height ?? HEIGHT[first.kind]) * ROW;
    return { lines, height: lines * height + (lines - 1) * GAP };
  });
  const heads = 41;
  return {
    width: 24 * COLUMN + 32,
    height: 16 + 46 + rows.reduce((sum, { height }) => sum + heads + height, 0) + 16,
  };
}

/** A series' name by a legend in Grafana's format. */
export function nameOf(legend: string, labels: Readonly<Record<string, string>>): string {
  return legend.replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => labels[label] ?? '');
}
