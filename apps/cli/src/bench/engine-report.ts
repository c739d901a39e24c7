import type { MachineRoof } from '@kvcapsule/engine';
import type { KeyFigure, Report, Section, Table } from '@kvcapsule/reporting';
import { ceilingRatio, decodeCost, leastSeconds, PUBLISHED, type Storage } from './ceilings.js';
import { enginePlots } from './engine-plots.js';
import type { Point } from './measure.js';
import { OWN, rowsOf, type BenchReport, type Row } from './report.js';
import type { Spread } from './spread.js';

const number = (value: number | undefined, digits: number) =>
  value === undefined ? '' : value.toFixed(digits);
const withSpread = ({ median, q25, q75 }: Spread, digits: number) =>
  `${median.toFixed(digits)} [${q25.toFixed(digits)}, ${q75.toFixed(digits)}]`;
const percent = (share: number | undefined) => (share === undefined ? '' : `${(100 * share).toFixed(0)} %`);
const isBaseline = ({ side }: Row) => side === OWN || side === 'raw';

function pointTable(report: BenchReport, points: readonly Point[], pictures: boolean): Table {
  const columns = [
    'step',
    'batch',
    pictures ? 'visual tokens each' : 'tokens each',
    pictures ? 'codec' : 'side',
  ];
  columns.push('ms a step [quartiles]', 'CPU ms', 'tokens/s', 'GB/s', 'GFLOP/s', 'of the roof');
  columns.push(...(pictures ? ['times raw', 'in CPU time'] : ['times as long as kvcapsule', 'in CPU time']));
  columns.push(pictures ? 'ceiling' : 'same tokens');
  const rows = points.flatMap((point) =>
    rowsOf(report, point).map((row) => [
      point.kind,
      String(point.batch),
      String(point.context),
      row.side,
      withSpread(row.milliseconds, 3),
      number(row.cpuMilliseconds, 3),
      number(row.tokensPerSecond, 0),
      number(row.gigabytesPerSecond, 1),
      number(row.gigaflops, 1),
      percent(row.reached),
      ...[row.ratio, row.cpuRatio].map((ratio) =>
        ratio === undefined || isBaseline(row) ? '' : withSpread(ratio, 2),
      ),
      pictures ? number(row.ceiling, 2) : percent(row.agreement),
    ]),
  );
  return { columns, rows };
}

const CEILING_CONTEXT = 16_384;
const CEILING_BATCHES = [1, 4, 16];

/** Ceilings on this machine's roof of storing 16K visual tokens in a sixteenth of the bytes. */
function ceilingTable(report: BenchReport): Table {
  const models = [report.geometry, ...PUBLISHED];
  const sixteenth: Storage = { bytesShare: 1 / 16, macsShare: 0 };
  const rows = models.flatMap((geometry) =>
    CEILING_BATCHES.map((batch) => {
      const raw = decodeCost(geometry, 2, batch, CEILING_CONTEXT);
      const short = decodeCost(geometry, 2, batch, CEILING_CONTEXT, sixteenth);
      const perSecond = (cost: typeof raw) => (batch / leastSeconds(cost, report.roof)).toPrecision(3);
      const ratio = ceilingRatio(geometry, 2, batch, CEILING_CONTEXT, sixteenth, report.roof);
      const gigabytes = (cost: typeof raw) => (cost.bytes / 1e9).toPrecision(3);
      const cells = [gigabytes(raw), gigabytes(short), perSecond(raw), perSecond(short), ratio.toFixed(2)];
      return [geometry.name, String(batch), ...cells];
    }),
  );
  const columns = ['model', 'batch', 'GB a step, raw', 'GB, 16 times less KV', 'tokens/s at most, raw'];
  return { columns: [...columns, 'tokens/s at most, 16 times less', 'ceiling of the ratio'], rows };
}

/** From the smallest to the largest median of a side's ratios, over what was measured. */
function rangeOf(report: BenchReport, points: readonly Point[], side: string): string | undefined {
  const ratios = points
    .flatMap((point) => rowsOf(report, point).filter((row) => row.side === side))
    .flatMap(({ ratio }) => (ratio === undefined ? [] : [ratio.median]));
  if (ratios.length === 0) return undefined;
  const [least, most] = [Math.min(...ratios).toFixed(2), Math.max(...ratios).toFixed(2)];
  return least === most ? `${least}×` : `${least}–${most}×`;
}

const MOST_FIGURES = 4;

/** How peers and codecs stand beside this engine and raw rows. */
function figuresOf(report: BenchReport): KeyFigure[] {
  const of = (content: Point['content'], kind: Point['kind']) =>
    report.points.filter((point) => point.content === content && point.kind === kind);
  const sides = [...new Set(report.points.flatMap(({ seconds }) => Object.keys(seconds)))];
  const figure = (side: string, points: readonly Point[], label: string): KeyFigure[] => {
    const value = rangeOf(report, points, side);
    return value === undefined ? [] : [{ value, label }];
  };
  return sides
    .filter((side) => side !== OWN && side !== 'raw')
    .flatMap((side) => [
      ...figure(side, of('text', 'decode'), `as long for ${side} to decode text`),
      ...figure(side, of('text', 'prefill'), `as long for ${side} to read a prompt`),
      ...figure(side, of('pictures', 'decode'), `raw’s speed of decoding after pictures, ${side}`),
    ])
    .slice(0, MOST_FIGURES);
}

function contentSection(
  report: BenchReport,
  content: Point['content'],
  title: string,
  note: string,
): Section[] {
  const points = report.points.filter((point) => point.content === content);
  if (points.length === 0) return [];
  const table = pointTable(report, points, content === 'pictures');
  return [{ title, note, plots: enginePlots(report)[content], table }];
}

const speedOf = ({ readBytesPerSecond, flopsPerSecond }: MachineRoof) =>
  `${(readBytesPerSecond / 1e9).toFixed(1)} GB/s, ${(flopsPerSecond / 1e9).toFixed(0)} GFLOP/s`;

function provenanceOf(report: BenchReport): Report['provenance'] {
  return [
    ['command', report.command],
    ['commit', report.commit],
    ['date', report.date],
    ['machine', report.machine],
    ['arithmetic', report.arithmetic ?? 'not recorded'],
    ['load average at begin and end', report.load.map((one) => one.toFixed(1)).join(', ')],
    ['roof, memory', speedOf(report.roof)],
    [`roof, ${(report.weightBytes / 1e6).toFixed(0)} MB`, speedOf(report.cacheRoof)],
    ['peers', report.peers.join(', ') || 'none'],
  ];
}

/** What an engine benchmark found, for people. */
export function engineReport(report: BenchReport): Report {
  const peersNote = report.peers.length > 0 && report.weights.startsWith('q') ? ' (peers: bf16)' : '';
  return {
    title: 'Engine benchmark',
    summary:
      `${report.geometry.name} with ${report.weights} weights${peersNote}, keys and values f16, ${report.threads} threads on every side; ` +
      'sides take turns in every round, and ratios are of rounds measured one right after the other.',
    figures: figuresOf(report),
    sections: [
      ...contentSection(
        report,
        'text',
        'Text only',
        '“Of the roof” is the least time that bytes and operations of a step allow on the measured roof, as a share of the time taken. ' +
          'CPU time is of all threads of a side’s process; other work on the machine does not stretch it.',
      ),
      ...contentSection(
        report,
        'pictures',
        'Pictures',
        'Decoding after contexts of pictures, one step of all sequences. The ceiling counts bytes of weights and of stored pictures, ' +
          'and operations: a capsule multiplies by its bases and templates as well.',
      ),
      {
        title: 'Ceilings',
        note: `16-bit weights, ${CEILING_CONTEXT} visual tokens in every sequence, on the roof of this machine.`,
        table: ceilingTable(report),
        detail: true,
      },
    ],
    provenance: provenanceOf(report),
  };
}
