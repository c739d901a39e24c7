import type { KeyFigure, Report, Section } from '@kvcapsule/reporting';
import type { EntryReport } from '../fidelity/entry-report.js';
import type { EvalReport } from '../fidelity/evaluate.js';
import { paretoPlot } from './pareto-plot.js';
import { claimsHeld, provenance, reportTables } from './tables.js';

/** In points: what the worse end of an entry's interval may lose where its ratio is told as a finding. */
const MARGIN_POINTS = 1;

/** The entry of ours that is smallest and loses less than the margin even at the worse end of its interval. */
function smallestFaithful({ entries }: EvalReport): EntryReport | undefined {
  return entries
    .filter(
      ({ group, ratio, questions: { againstRaw } }) =>
        group === 'ours' &&
        ratio !== undefined &&
        (againstRaw?.differencePoints.low ?? -Infinity) >= -MARGIN_POINTS,
    )
    .toSorted((a, b) => (b.ratio ?? 0) - (a.ratio ?? 0))[0];
}

function figuresOf(report: EvalReport): KeyFigure[] {
  const figures: KeyFigure[] = [];
  const best = smallestFaithful(report);
  if (best?.ratio !== undefined && best.questions.againstRaw !== undefined) {
    const { klMean } = best.questions.againstRaw;
    const label = `smaller than raw with less than ${MARGIN_POINTS} point lost (${best.name})`;
    figures.push({ value: `${best.ratio.toFixed(1)}×`, label });
    figures.push({
      value: klMean.value.toPrecision(2),
      label: 'nats per answer token between it and raw (mean KL)',
    });
  }
  const { held, made } = claimsHeld(report);
  if (made > 0)
    figures.push({ value: `${held} of ${made}`, label: 'claims hold at the worse end of their intervals' });
  return figures;
}

function summaryOf({ entries, scenes }: EvalReport): string {
  const asked = entries[0]?.questions.questions ?? 0;
  return (
    `${entries.length} ways to keep a picture’s keys and values, against raw rows: exact match of the whole answer, greedy decoding, ` +
    `${asked} questions about ${scenes.questions} generated scenes that no fit saw. ` +
    'An entry decodes on its own from the token where it leaves raw’s answer; elsewhere the two answers are one.'
  );
}

/** What stands open on the page; the other tables are details. */
const OPEN = new Set(['Claims', 'Fidelity']);

/** What an evaluation found, for people. */
export function evalReport(report: EvalReport): Report {
  const plots = [paretoPlot(report, 'kl'), paretoPlot(report, 'difference')].filter(
    (plot) => plot !== undefined,
  );
  const plotted: Section[] = plots.length === 0 ? [] : [{ title: 'Size against fidelity', plots }];
  const tables = reportTables(report).map(({ title, note, columns, rows }) => ({
    title,
    note,
    table: { columns, rows },
    detail: !OPEN.has(title),
  }));
  return {
    title: 'Fidelity on the demo task',
    summary: summaryOf(report),
    figures: figuresOf(report),
    sections: [...plotted, ...tables],
    provenance: provenance(report),
  };
}
