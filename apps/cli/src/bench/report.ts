import type { Codec, MachineRoof, NativeEngineInfo, WeightType } from '@kvcapsule/engine';
import {
  bytesPerWeight,
  ceilingRatio,
  decodeCost,
  leastSeconds,
  prefillCost,
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
  /** Of this engine; its name holds the instruction set. Absent in results from before it was recorded. */
  readonly arithmetic?: string;
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
