import type { Codec, MachineRoof, NativeEngineInfo, WeightType } from '@kvcapsule/engine';
import {
  bytesPerWeight,
  ceilingRatio,
  decodeCost,
  leastSeconds,
  prefillCost,
  PUBLISHED,
  RAW,
  type DecoderGeometry,
  type StepCost,
  type Storage,
} from './ceilings.js';
import type { Point } from './measure.js';
import { pairedRatio, spread, type Spread } from './spread.js';

export interface BenchReport {
  readonly command: string;
  readonly commit: string;
  readonly date: string;
  readonly machine: string;
  /** Of this engine; its name holds the instruction set. */
  readonly arithmetic: string;
  /** Processes that wanted a CPU on average, of all on the machine, when the run began and when it ended. */
  readonly load: readonly [number, number];
  readonly threads: number;
  readonly weights: WeightType;
  readonly weightBytes: number;
  readonly peers: readonly string[];
  readonly geometry: DecoderGeometry;
  /** Measured in this run, with as many threads. */
  readonly roof: MachineRoof;
  /** The same on so little memory as the decoder's weights take: what they can be read with from the caches. */
  readonly cacheRoof: MachineRoof;
  readonly storage: Readonly<Partial<Record<Codec, Storage>>>;
  readonly points: readonly Point[];
}

export const OWN = 'kvcapsule';

/** A picture of `tokens` rows in a codec. */
export interface HeldPicture {
  readonly codec: Codec;
  readonly tokens: number;
  readonly pages: number;
  readonly restRows: number;
  /** Multiply-adds of its attention, as a share of raw rows'. */
  readonly macsShare: number;
}

/** Bytes of a picture's pages against raw rows of as many tokens; what stays raw beside a capsule is counted. */
export function storageOf(info: NativeEngineInfo, held: HeldPicture): Storage {
  const rawBytes = (held.tokens * info.blockBytes) / info.blockTokens;
  const bytes = held.pages * info.pageBytes + (held.restRows * info.blockBytes) / info.blockTokens;
  return { bytesShare: bytes / rawBytes, macsShare: held.macsShare };
}

/** What a point's step reads and computes at least. */
export function costOf(report: BenchReport, point: Point, side: string): StepCost | undefined {
  const bytes = bytesPerWeight(report.geometry, report.weights);
  if (point.kind === 'prefill') return prefillCost(report.geometry, bytes, point.batch, point.context);
  if (point.kind === 'mixed') return undefined;
  const storage = report.storage[side as Codec] ?? RAW;
  return decodeCost(report.geometry, bytes, point.batch, point.context, storage);
}

export interface Row {
  readonly side: string;
  readonly milliseconds: Spread;
  /** CPU time of a step, all threads. */
  readonly cpuMilliseconds: number;
  readonly tokensPerSecond: number;
  readonly gigabytesPerSecond: number | undefined;
  readonly gigaflops: number | undefined;
  /** Share of the least time that roof and cost allow. */
  readonly reached: number | undefined;
  /** Baseline's time against this one's, above 1 = faster than the baseline. */
  readonly ratio: Spread | undefined;
  /** The same of CPU time. */
  readonly cpuRatio: Spread | undefined;
  /** Most that the ratio could be. */
  readonly ceiling: number | undefined;
  readonly agreement: number | undefined;
}

/** A point's baseline: raw rows for pictures; for text this engine's times stand against each peer's. */
export function rowsOf(report: BenchReport, point: Point): Row[] {
  return Object.entries(point.seconds).map(([side, seconds]) => {
    const times = spread(seconds);
    const cost = costOf(report, point, side);
    const tokens = point.kind === 'prefill' ? point.batch * point.context : point.batch;
    const against = (times: Point['seconds']) => {
      const [mine, base] = [times[side] ?? [], times[point.content === 'pictures' ? 'raw' : OWN]];
      if (base === undefined) return undefined;
      return point.content === 'pictures' ? pairedRatio(base, mine) : pairedRatio(mine, base);
    };
    const storage = report.storage[side as Codec];
    const bytes = bytesPerWeight(report.geometry, report.weights);
    const scale = (value: number) => value * 1e3;
    return {
      side,
      milliseconds: {
        median: scale(times.median),
        q25: scale(times.q25),
        q75: scale(times.q75),
        n: times.n,
      },
      cpuMilliseconds: scale(spread(point.cpuSeconds[side] ?? []).median),
      tokensPerSecond: tokens / times.median,
      gigabytesPerSecond: cost && cost.bytes / times.median / 1e9,
      gigaflops: cost && cost.flops / times.median / 1e9,
      reached: cost && leastSeconds(cost, roofFor(report, cost)) / times.median,
      ratio: against(point.seconds),
      cpuRatio: against(point.cpuSeconds),
      ceiling:
        point.content === 'pictures' && storage
          ? ceilingRatio(report.geometry, bytes, point.batch, point.context, storage, report.roof)
          : undefined,
      agreement: point.agreement[side],
    };
  });
}

/** What fits the last cache is not held to the speed of memory. */
function roofFor(report: BenchReport, cost: StepCost): MachineRoof {
  return cost.bytes > 4 * report.weightBytes ? report.roof : report.cacheRoof;
}

const number = (value: number | undefined, digits: number) =>
  value === undefined ? '' : value.toFixed(digits);
const withSpread = ({ median, q25, q75 }: Spread, digits: number) =>
  `${median.toFixed(digits)} [${q25.toFixed(digits)}, ${q75.toFixed(digits)}]`;
const percent = (share: number | undefined) => (share === undefined ? '' : `${(100 * share).toFixed(0)} %`);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

function pointTable(report: BenchReport, points: readonly Point[], pictures: boolean): string {
  const head = ['', 'batch', pictures ? 'visual tokens each' : 'tokens each', pictures ? 'codec' : 'side'];
  head.push('ms a step [quartiles]', 'CPU ms', 'tokens/s', 'GB/s', 'GFLOP/s', 'of the roof');
  head.push(...(pictures ? ['times raw', 'in CPU time'] : ['times as long as kvcapsule', 'in CPU time']));
  head.push(pictures ? 'ceiling' : 'same tokens');
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
        ratio === undefined || row.side === OWN || row.side === 'raw' ? '' : withSpread(ratio, 2),
      ),
      pictures ? number(row.ceiling, 2) : percent(row.agreement),
    ]),
  );
  return table(head, rows);
}

const CEILING_CONTEXT = 16_384;
const CEILING_BATCHES = [1, 4, 16];

/** Ceilings on this machine's roof of storing 16K visual tokens in a sixteenth of the bytes. */
function ceilingTable(report: BenchReport): string {
  const models = [report.geometry, ...PUBLISHED];
  const sixteenth: Storage = { bytesShare: 1 / 16, macsShare: 0 };
  const rows = models.flatMap((geometry) =>
    CEILING_BATCHES.map((batch) => {
      const raw = decodeCost(geometry, 2, batch, CEILING_CONTEXT);
      const short = decodeCost(geometry, 2, batch, CEILING_CONTEXT, sixteenth);
      const perSecond = (cost: StepCost) => (batch / leastSeconds(cost, report.roof)).toPrecision(3);
      const ratio = ceilingRatio(geometry, 2, batch, CEILING_CONTEXT, sixteenth, report.roof);
      const gigabytes = (cost: StepCost) => (cost.bytes / 1e9).toPrecision(3);
      const cells = [gigabytes(raw), gigabytes(short), perSecond(raw), perSecond(short), ratio.toFixed(2)];
      return [geometry.name, String(batch), ...cells];
    }),
  );
  const head = ['model', 'batch', 'GB a step, raw', 'GB, 16 times less KV', 'tokens/s at most, raw'];
  return table([...head, 'tokens/s at most, 16 times less', 'ceiling of the ratio'], rows);
}

/** The tables and everything needed to make them again. */
export function renderMarkdown(report: BenchReport): string {
  const { roof, cacheRoof } = report;
  const speed = (one: MachineRoof) =>
    `${(one.readBytesPerSecond / 1e9).toFixed(1)} GB/s, ${(one.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s`;
  const text = report.points.filter(({ content }) => content === 'text');
  const pictures = report.points.filter(({ content }) => content === 'pictures');
  const parts = [
    `# Engine benchmark
Weights ${report.weights}${report.peers.length > 0 && report.weights.startsWith('q') ? ' (peers: bf16)' : ''}, keys and values f16, ${report.threads} threads on every side; sides take turns in every round. Ratios are of rounds measured one right after the other. "Of the roof" is the least time that bytes and operations of a step allow on the measured roof, as a share of the time taken. CPU time is of all threads of a side's process; other work on the machine does not stretch it.`,
  ];
  if (text.length > 0) {
    parts.push(`## Text only
${pointTable(report, text, false)}`);
  }
  if (pictures.length > 0) {
    parts.push(`## Pictures
Decoding after contexts of pictures, one step of all sequences. The ceiling counts bytes of weights and of stored pictures, and operations: a capsule multiplies by its bases and templates as well.

${pointTable(report, pictures, true)}`);
  }
  parts.push(`## Ceilings
16-bit weights, ${CEILING_CONTEXT} visual tokens in every sequence, on the roof of this machine.

${ceilingTable(report)}`);
  parts.push(`| | |
|---|---|
| command | \`${report.command}\` |
| commit | ${report.commit} |
| date | ${report.date} |
| machine | ${report.machine} |
| arithmetic | ${report.arithmetic} |
| load average at begin and end | ${report.load.map((one) => one.toFixed(1)).join(', ')} |
| roof, memory | ${speed(roof)} |
| roof, ${(report.weightBytes / 1e6).toFixed(0)} MB | ${speed(cacheRoof)} |
| peers | ${report.peers.join(', ') || 'none'} |
`);
  return parts.join('\n\n');
}
