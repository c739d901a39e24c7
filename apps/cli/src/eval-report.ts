import { QUESTION_KINDS } from '@kvcapsule/testing';
import type { CodecSummary } from './eval-statistics.js';

export interface EvalReport {
  readonly command: string;
  readonly commit: string;
  readonly date: string;
  readonly machine: string;
  readonly scenes: number;
  readonly seed: number;
  readonly artwork: string;
  readonly modelRevision: string;
  readonly weights: string;
  readonly kvDtype: string;
  readonly codecs: readonly (CodecSummary & { readonly bytesPerPicture: number })[];
}

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

function accuracyRow(codec: EvalReport['codecs'][number]): string {
  const kinds = QUESTION_KINDS.map((kind) => {
    const counts = codec.byKind[kind];
    return counts === undefined ? '–' : `${counts.correct}/${counts.questions}`;
  });
  const all = `${percent(codec.accuracy)} ± ${(100 * codec.standardError).toFixed(2)}`;
  return `| ${[codec.codec, codec.bytesPerPicture, all, ...kinds].join(' | ')} |`;
}

function comparisonRow({ codec, againstRaw }: EvalReport['codecs'][number]): string[] {
  if (againstRaw === undefined) return [];
  const { dropPoints, lost, won, klMeanNats, klP99Nats, top1Agreement } = againstRaw;
  const numbers = [dropPoints.toFixed(2), lost, won, klMeanNats.toFixed(5), klP99Nats.toFixed(4)];
  return [`| ${[codec, ...numbers, top1Agreement.toFixed(4)].join(' | ')} |`];
}

/** The tables and everything needed to make them again. */
export function renderReport(report: EvalReport): string {
  const columns = ['codec', 'bytes of visual KV a picture', 'all', ...QUESTION_KINDS];
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rule = (count: number) => `|${'---|'.repeat(count)}`;
  const against = ['codec', 'drop, points', 'lost', 'won', 'KL mean', 'KL p99', 'top-1 agreement'];
  return `# Accuracy on the demo task
Exact match of the whole answer, greedy decoding, on ${report.scenes} generated scenes of seed ${report.seed} (${report.artwork} artwork), the same questions for every codec. A codec decodes on its own from the start wherever its best token differs from raw's along raw's answer; elsewhere the two answers are one. Weights ${report.weights}, raw rows ${report.kvDtype}.

${line(columns)}
${rule(columns.length)}
${report.codecs.map(accuracyRow).join('\n')}

Against raw: lost and won count questions that only raw, or only the codec, answers right. KL(raw ‖ codec) is in nats per answer token along raw's answer (teacher forcing), over ${report.codecs.find((codec) => codec.againstRaw)?.againstRaw?.answerTokens ?? 0} tokens.

${line(against)}
${rule(against.length)}
${report.codecs.flatMap(comparisonRow).join('\n')}

| | |
|---|---|
| command | \`${report.command}\` |
| commit | ${report.commit} |
| date | ${report.date} |
| machine | ${report.machine} |
| model revision | ${report.modelRevision} |
`;
}
