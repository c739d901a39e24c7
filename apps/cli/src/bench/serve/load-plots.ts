import {
  type GapHistogram,
  isOk,
  quantileOf,
  type RequestRecord,
  sortedOf,
  tpotMs,
  ttftMs,
  e2eMs,
} from '@kvcapsule/load/measurement';
import { linesPlot, type PlotBlock, type Series } from '@kvcapsule/reporting';

const MOST_BINS = 60;
const LEAST_BINS = 8;
/** Requests that a percentile of a span is to be of. */
const BIN_REQUESTS = 10;
/** From the third that nobody minds up to the tail. */
const QUANTILES = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999];

/** Spans of equal time over a run. */
class Bins {
  readonly beginMs: number;
  readonly widthMs: number;

  constructor(records: readonly RequestRecord[]) {
    const begins = records.map(({ intendedMs }) => intendedMs);
    const ends = records.map(({ endMs }) => endMs);
    this.beginMs = begins.reduce((least, ms) => Math.min(least, ms), Infinity);
    const endMs = ends.reduce((most, ms) => Math.max(most, ms), this.beginMs);
    // whole seconds where the run is long enough for it
    const bins = Math.max(LEAST_BINS, Math.min(MOST_BINS, Math.floor(records.length / BIN_REQUESTS)));
    const widthMs = (endMs - this.beginMs) / bins;
    this.widthMs = Math.max(1, widthMs > 1_000 ? 1_000 * Math.ceil(widthMs / 1_000) : widthMs);
  }

  of(
    records: readonly RequestRecord[],
    timeMs: (record: RequestRecord) => number,
  ): Map<number, RequestRecord[]> {
    return Map.groupBy(records, (record) => Math.floor((timeMs(record) - this.beginMs) / this.widthMs));
  }

  /** Seconds of the middle of a bin, from the first request that counts. */
  middle = (bin: number): number => ((bin + 0.5) * this.widthMs) / 1_000;
}

const byPlace = <T>(bins: Map<number, T>): [number, T][] => [...bins].sort(([a], [b]) => a - b);

const SECONDS = { label: 'seconds →' } as const;
const LOG_MS = { type: 'log', label: 'ms', ticks: 5, tickFormat: ',~r' } as const;

/** Median and 99th percentile of the requests that were to be sent in each span. */
function overTime(
  records: readonly RequestRecord[],
  bins: Bins,
  caption: string,
  of: (record: RequestRecord) => number,
): PlotBlock {
  const placed = byPlace(bins.of(records.filter(isOk), ({ intendedMs }) => intendedMs));
  const series = (
    [
      ['median', 0.5],
      ['99th percentile', 0.99],
    ] as const
  ).map(([name, share]): Series => ({
    name,
    points: placed
      .map(([bin, members]) => ({ x: bins.middle(bin), y: quantileOf(sortedOf(members.map(of)), share) }))
      .filter(({ y }) => y > 0),
  }));
  return linesPlot(caption, series, { x: SECONDS, y: LOG_MS });
}

/** Every quantile of the times of a request, tails included. */
function distributions(records: readonly RequestRecord[], gaps: GapHistogram): PlotBlock {
  const ok = records.filter(isOk);
  // a percentile of fewer values than it takes to be one is the largest of them
  const pointsOf = (count: number, at: (share: number) => number) =>
    QUANTILES.filter((share) => count * (1 - share) >= 1)
      .map((share) => ({ x: 1 / (1 - share), y: at(share) }))
      .filter(({ y }) => y > 0);
  const series = (
    [
      ['TTFT', ttftMs],
      ['TPOT', tpotMs],
      ['end to end', e2eMs],
    ] as const
  ).map(([name, of]): Series => {
    const sorted = sortedOf(ok.map(of));
    return { name, points: pointsOf(sorted.length, (share) => quantileOf(sorted, share)) };
  });
  const itl = { name: 'ITL', points: pointsOf(gaps.count, (share) => gaps.quantileMs(share)) };
  const drawn = [...series, itl];
  const most = Math.max(...drawn.flatMap(({ points }) => points.map(({ x }) => x)));
  return linesPlot('Times by percentile, ms', drawn, {
    x: {
      type: 'log',
      label: 'percentile →',
      ticks: [2, 10, 100, 1_000].filter((tick) => tick <= most),
      tickFormat: (value: number) => `${Number((100 * (1 - 1 / value)).toFixed(2))} %`,
    },
    y: LOG_MS,
  });
}

/** Requests a second that were to be sent, that were answered and that failed, by span. */
function rates(records: readonly RequestRecord[], bins: Bins): PlotBlock {
  const perSecond = (some: readonly RequestRecord[], timeMs: (record: RequestRecord) => number) =>
    byPlace(bins.of(some, timeMs)).map(([bin, members]) => ({
      x: bins.middle(bin),
      y: (1_000 * members.length) / bins.widthMs,
    }));
  const failed = records.filter(({ outcome }) => outcome !== 'ok' && outcome !== 'cancelled');
  const series: Series[] = [
    { name: 'to be sent', points: perSecond(records, ({ intendedMs }) => intendedMs) },
    { name: 'answered', points: perSecond(records.filter(isOk), ({ endMs }) => endMs) },
    ...(failed.length > 0 ? [{ name: 'failed', points: perSecond(failed, ({ endMs }) => endMs) }] : []),
  ];
  return linesPlot('Requests a second', series, { x: SECONDS });
}

/** Open requests at the middle of each span. */
function openRequests(records: readonly RequestRecord[], bins: Bins): PlotBlock {
  const changes = records
    .flatMap(({ sentMs, endMs }) => [[sentMs, 1] as const, [endMs, -1] as const])
    .sort(([a], [b]) => a - b);
  const last = Math.floor(((changes.at(-1)?.[0] ?? 0) - bins.beginMs) / bins.widthMs);
  let [at, open] = [0, 0];
  const points = Array.from({ length: Math.max(0, last + 1) }, (_, bin) => {
    const untilMs = bins.beginMs + (bin + 0.5) * bins.widthMs;
    for (; (changes[at]?.[0] ?? Infinity) <= untilMs; at += 1) open += changes[at]?.[1] ?? 0;
    return { x: bins.middle(bin), y: open };
  });
  return linesPlot('Open requests', [{ name: 'open', points }], { x: SECONDS });
}

export interface LoadPlots {
  readonly latencies: PlotBlock[];
  readonly distribution: PlotBlock[];
  readonly rates: PlotBlock[];
}

export function loadPlots(records: readonly RequestRecord[], gaps: GapHistogram): LoadPlots {
  if (!records.some(isOk)) return { latencies: [], distribution: [], rates: [] };
  const bins = new Bins(records);
  return {
    latencies: [
      overTime(records, bins, 'Time to first token, by when requests were to be sent, ms', ttftMs),
      overTime(records, bins, 'End to end, by when requests were to be sent, ms', e2eMs),
    ],
    distribution: [distributions(records, gaps)],
    rates: [rates(records, bins), openRequests(records, bins)],
  };
}
