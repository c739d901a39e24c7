import { QUESTION_KINDS } from '@kvcapsule/testing';
import { COSINES } from '../fidelity/attention-probe.js';
import type { EntryReport } from '../fidelity/entry-report.js';
import type { EvalReport } from '../fidelity/evaluate.js';
import type { Estimate } from '../statistics/statistics.js';
import type { Summary } from '../fidelity/summary.js';

/** One table of the report, whatever it is written as. */
interface Table {
  readonly title: string;
  /** What the numbers are, in whole sentences. */
  readonly note: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const NONE = '–';
const kl = (nats: number) => nats.toFixed(6);
const signed = (value: number) => `${value > 0 ? '+' : ''}${value.toFixed(2)}`;
const interval = ({ low, high }: Estimate, show: (value: number) => string) =>
  `[${show(low)}, ${show(high)}]`;
const percent = (share: number) => (100 * share).toFixed(2);

function accuracyOf({ correct, questions }: { correct: number; questions: number }): string {
  return questions === 0 ? NONE : `${percent(correct / questions)} % (${correct}/${questions})`;
}

function differenceOf({ againstRaw }: Summary): string {
  if (againstRaw === undefined) return NONE;
  const { differencePoints } = againstRaw;
  return `${signed(differencePoints.value)} ${interval(differencePoints, signed)}`;
}

function klOf({ againstRaw }: Summary): string {
  return againstRaw === undefined
    ? NONE
    : `${kl(againstRaw.klMean.value)} ${interval(againstRaw.klMean, kl)}`;
}

function fidelity({ entries }: EvalReport): Table {
  return {
    title: 'Fidelity',
    note:
      'Every entry answers the same questions as raw, some of them more than stand in raw’s row; intervals are 95 %, from resampling whole pictures. ' +
      'Ratio: raw 16-bit bytes of all the picture’s tokens over the bytes of the pages it holds, markers and rounding included. ' +
      'Difference: accuracy minus raw’s, in points. Lost and won: questions that only raw, or only the entry, answers right. ' +
      'KL(raw ‖ entry) is in nats per answer token along raw’s answer (teacher forcing); of another engine it is a lower bound ' +
      'from its likeliest tokens, up to the token where its answer leaves raw’s.',
    columns: [
      'entry',
      'ratio',
      'accuracy',
      'difference',
      'lost',
      'won',
      'KL mean',
      'KL p99',
      'top-1 agreement',
    ],
    rows: entries.map(({ name, ratio, questions }) => {
      const { againstRaw } = questions;
      const rate = (flips: number) => `${flips} (${percent(flips / questions.questions)} %)`;
      const flips = againstRaw === undefined ? [NONE, NONE] : [againstRaw.lost, againstRaw.won].map(rate);
      const tail =
        againstRaw === undefined
          ? [NONE, NONE]
          : [againstRaw.klP99.toFixed(4), againstRaw.top1Agreement.value.toFixed(4)];
      const measured = [accuracyOf(questions), differenceOf(questions), ...flips, klOf(questions), ...tail];
      return [name, ratio?.toFixed(2) ?? NONE, ...measured];
    }),
  };
}

function claimRows({ name, claim, ratio, questions: { questions, againstRaw } }: EntryReport): string[][] {
  if (claim === undefined) return [];
  const verdict = (holds: boolean) => (holds ? 'yes' : 'NO');
  const least = `ratio at least ${claim.ratio}`;
  const rows = [[name, least, NONE, ratio?.toFixed(2) ?? NONE, NONE, verdict((ratio ?? 0) >= claim.ratio)]];
  const answers = String(questions);
  if (againstRaw === undefined) return rows;
  const { klMean, differencePoints: difference } = againstRaw;
  if (claim.klNats !== undefined) {
    const holds = verdict(klMean.high <= claim.klNats);
    rows.push([name, `mean KL at most ${claim.klNats}`, answers, kl(klMean.value), kl(klMean.high), holds]);
  }
  if (claim.points !== undefined) {
    const said = `accuracy lost at most ${claim.points} points`;
    const holds = verdict(difference.low >= -claim.points);
    rows.push([name, said, answers, signed(difference.value), signed(difference.low), holds]);
  }
  return rows;
}

/** Of all claims that entries make, those that hold. */
export function claimsHeld({ entries }: EvalReport): { readonly held: number; readonly made: number } {
  const rows = entries.flatMap(claimRows);
  return { held: rows.filter((row) => row.at(-1) === 'yes').length, made: rows.length };
}

function claims({ entries }: EvalReport): Table {
  return {
    title: 'Claims',
    note: 'A claim holds when the worse end of the 95 % interval holds it, not when the middle does.',
    columns: ['entry', 'claim', 'answers', 'measured', 'worse end', 'holds'],
    rows: entries.flatMap(claimRows),
  };
}

function bytes({ entries, picture }: EvalReport): Table {
  return {
    title: 'Bytes',
    note:
      `One picture of ${picture.tokens} tokens (${picture.visualTokens} visual), ${picture.rawBytes} bytes as raw 16-bit rows. ` +
      'Held: pages it holds. Shared: the profile’s bases, masks and templates, once for all pictures; the last three columns ' +
      'divide them among 1, 10 and 100 resident pictures. While encoding: the raw blocks and the new pages together.',
    columns: ['entry', 'tokens', 'held', 'shared', 'while encoding', 'ratio', 'n = 1', 'n = 10', 'n = 100'],
    rows: entries.flatMap(({ name, bytes, ratio, ratioShared }) => {
      if (bytes === undefined || ratioShared === undefined) return [];
      const { tokens, heldBytes, sharedBytes, encodingBytes } = bytes;
      const ratios = [ratio ?? NaN, ratioShared[1], ratioShared[10], ratioShared[100]];
      return [
        [
          name,
          ...[tokens, heldBytes, sharedBytes, encodingBytes].map(String),
          ...ratios.map((value) => value.toFixed(2)),
        ],
      ];
    }),
  };
}

function byKind({ entries }: EvalReport): Table {
  const hard = entries.find(({ definesHard }) => definesHard)?.name;
  return {
    title: 'By kind of question',
    note:
      'Right answers, and KL mean in brackets.' +
      (hard === undefined ? '' : ` Hard: the questions that “${hard}” gets wrong.`),
    columns: ['entry', ...QUESTION_KINDS, ...(hard === undefined ? [] : ['hard', 'hard, difference'])],
    rows: entries.map(({ name, byKind, hard: subset }) => [
      name,
      ...QUESTION_KINDS.map((kind) => {
        const summary = byKind[kind];
        if (summary === undefined) return NONE;
        const mean = summary.againstRaw && ` (${kl(summary.againstRaw.klMean.value)})`;
        return `${summary.correct}/${summary.questions}${mean ?? ''}`;
      }),
      ...(subset === undefined ? [] : [`${subset.correct}/${subset.questions}`, differenceOf(subset)]),
    ]),
  };
}

function byPosition({ entries }: EvalReport): Table {
  const compared = entries.filter(({ questions }) => questions.againstRaw);
  const [first] = compared;
  return {
    title: 'Along the answer',
    note: 'KL mean / p99 of answer tokens by how far along the answer they stand; long answers are lists and descriptions.',
    columns: ['entry', ...(first?.byPosition ?? []).map(({ from, to }) => `tokens ${from + 1}–${to}`)],
    rows: compared.map(({ name, byPosition }) => [
      name,
      ...byPosition.map(({ klMean, klP99 }) => `${kl(klMean)} / ${klP99.toFixed(4)}`),
    ]),
  };
}

type Named = { readonly label: string; readonly summary: Summary };

/** A row an entry and place. */
function placed(
  { entries }: EvalReport,
  title: string,
  note: string,
  of: (entry: EntryReport) => readonly Named[],
): Table {
  const rows = entries.flatMap((entry) =>
    of(entry).map(({ label, summary }) => [
      entry.name,
      label,
      accuracyOf(summary),
      differenceOf(summary),
      klOf(summary),
    ]),
  );
  return { title, note, columns: ['entry', 'asked', 'accuracy', 'difference', 'KL mean'], rows };
}

const conversations = (report: EvalReport) =>
  placed(
    report,
    'Further questions on the same capsule',
    'Ten questions in one conversation about one picture, raw’s own answers in between; the first, second and tenth are measured.',
    (entry) => entry.conversations.map(({ turn, summary }) => ({ label: `question ${turn}`, summary })),
  );

const several = (report: EvalReport) =>
  placed(
    report,
    'Several pictures',
    'The asked picture at every place among one, two and four; each picture is compressed before the next one is read. ' +
      'The demo model has not learned several pictures: the differences count, not the accuracy.',
    (entry) =>
      entry.several.map(({ pictures, place, summary }) => ({ label: `${place} of ${pictures}`, summary })),
  );

/** Rows kept and bits a row of one layer's keys or values. */
function keptCells({ kept }: EntryReport, layer: number, part: 'keys' | 'values'): string[] {
  const found = kept.find((one) => one.layer === layer && one.part === part);
  return found === undefined ? [NONE, NONE] : [percent(found.retention), found.bitsPerRow.toFixed(2)];
}

function attention({ entries }: EvalReport): Table {
  return {
    title: 'By layer and part',
    note:
      'Kept: coefficient rows stored of a picture like the mean one, in % of its rows, and bits a channel of a stored row. ' +
      'Then the mean cosine with raw’s attention output, for the rows that answer tokens are drawn from. Keys, values, both: ' +
      'raw’s own queries, with that part of the picture’s span from the codec and the rest raw. Running: the codec’s own run, ' +
      'in which every layer inherits the error of those before it. The paper reports .58 (keys), .76 (values) and .60 (both) ' +
      'for its final attention output at 0.40 of the rows in 16 bits.',
    columns: ['entry', 'layer', 'keys kept', 'bits', 'values kept', 'bits', ...COSINES],
    rows: entries.flatMap((entry) =>
      entry.attention.map((cosines, layer) => [
        entry.name,
        String(layer),
        ...keptCells(entry, layer, 'keys'),
        ...keptCells(entry, layer, 'values'),
        ...cosines.map((value) => value.toFixed(5)),
      ]),
    ),
  };
}

/** Everything but the plot, in the order of reading. */
export function reportTables(report: EvalReport): Table[] {
  return [
    claims(report),
    fidelity(report),
    bytes(report),
    byKind(report),
    byPosition(report),
    attention(report),
    conversations(report),
    several(report),
  ].filter(({ rows }) => rows.length > 0);
}

/** What it takes to measure again. */
export function provenance(report: EvalReport): [string, string][] {
  const { questions, conversations: turns, several: mixed, attention: probed } = report.scenes;
  return [
    ['command', report.command],
    ['commit', report.commit],
    ['date', report.date],
    ['machine', report.machines.join('; ')],
    ['model revision', report.modelRevision],
    ['types', `weights ${report.weights}, raw rows ${report.kvDtype}`],
    [
      'series',
      `seed ${report.seed}, ${report.artwork} artwork${report.crop === undefined ? '' : `, crops of ${report.crop}`}`,
    ],
    [
      'scenes',
      `${questions} alone, ${turns} in conversations, ${mixed} among several, ${probed} for attention`,
    ],
    ['peak resident bytes of a measuring process', String(report.peakResidentBytes)],
  ];
}
