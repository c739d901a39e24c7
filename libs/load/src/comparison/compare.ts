import {
  e2eMs,
  isGood,
  isOk,
  type Measured,
  type RequestRecord,
  type Slo,
  tpotMs,
  ttftMs,
} from '../measurement/index.js';
import {
  bootstrapRatio,
  type Estimator,
  pointOf,
  quantileEstimator,
  type Ratio,
  ratioEstimator,
} from '../statistics/index.js';

/** Runs of one side: one, or a round after another. */
export type Side = readonly Measured[];

export interface ComparedMetric extends Ratio {
  readonly name: string;
  readonly unit: 'ms' | '/s' | 'share';
  readonly a: number;
  readonly b: number;
  /** `unknown` while the interval holds 1. */
  readonly verdict: 'better' | 'worse' | 'unknown';
}

/** Spans that a run's rates are drawn from. */
const SPANS = 20;

/** Requests of one conversation hang together, so they are drawn together. */
function clustersOf(side: Side): { readonly record: RequestRecord; readonly cluster: number }[] {
  const places = new Map<string, number>();
  return side.flatMap(({ records }, round) =>
    records.map((record) => {
      const key = `${round} ${record.conversation}`;
      const cluster = places.get(key) ?? places.size;
      places.set(key, cluster);
      return { record, cluster };
    }),
  );
}

function quantile(side: Side, of: (record: RequestRecord) => number, share: number): Estimator {
  const placed = clustersOf(side);
  const clusters = placed.reduce((most, { cluster }) => Math.max(most, cluster + 1), 0);
  const members = placed
    .filter(({ record }) => isOk(record))
    .map(({ record, cluster }) => ({ cluster, value: of(record) }));
  return quantileEstimator(members, clusters, share);
}

/** Mean time between pieces, all of a request together. */
function meanGap(side: Side): Estimator {
  const answered = side
    .flatMap(({ records }) => records)
    .filter((record) => isOk(record) && record.parts > 1);
  return ratioEstimator(
    answered.map(({ firstMs = 0, lastMs = 0, parts }) => ({ sum: lastMs - firstMs, weight: parts - 1 })),
  );
}

const share = (side: Side, slo: Slo): Estimator =>
  ratioEstimator(
    side.flatMap(({ records }) => records).map((record) => ({ sum: Number(isGood(record, slo)), weight: 1 })),
  );

/** How many a second end, over spans of equal time of each run. */
function rate(side: Side, of: (record: RequestRecord) => number): Estimator {
  return ratioEstimator(
    side.flatMap(({ records }) => {
      const beginMs = records.reduce((least, { intendedMs }) => Math.min(least, intendedMs), Infinity);
      const endMs = records.reduce((most, one) => Math.max(most, one.endMs), beginMs);
      const weight = (endMs - beginMs) / 1_000 / SPANS;
      const sums = new Float64Array(SPANS);
      for (const record of records) {
        const span = Math.min(SPANS - 1, Math.floor(((record.endMs - beginMs) / (endMs - beginMs)) * SPANS));
        sums[span] = (sums[span] ?? 0) + (isOk(record) ? of(record) : 0);
      }
      return records.length === 0 ? [] : [...sums].map((sum) => ({ sum, weight }));
    }),
  );
}

const tokens = ({ completionTokens, parts }: RequestRecord): number => completionTokens || parts;

function compared(name: string, unit: ComparedMetric['unit'], a: Estimator, b: Estimator): ComparedMetric {
  const ratio = bootstrapRatio(a, b);
  const isLarger = ratio.low > 1;
  const isKnown = isLarger || ratio.high < 1;
  const better = unit === 'ms' ? !isLarger : isLarger;
  const verdict = !isKnown ? 'unknown' : better ? 'better' : 'worse';
  return { name, unit, a: pointOf(a), b: pointOf(b), ...ratio, verdict };
}

/** What `b` is beside `a`; `slo` adds the share of good requests. */
export function compareSides(a: Side, b: Side, slo?: Slo): ComparedMetric[] {
  const times = [
    ['TTFT p50', ttftMs, 0.5],
    ['TTFT p99', ttftMs, 0.99],
    ['TPOT p50', tpotMs, 0.5],
    ['TPOT p99', tpotMs, 0.99],
    ['end to end p50', e2eMs, 0.5],
    ['end to end p99', e2eMs, 0.99],
  ] as const;
  return [
    ...times.map(([name, of, at]) => compared(name, 'ms', quantile(a, of, at), quantile(b, of, at))),
    compared('ITL mean', 'ms', meanGap(a), meanGap(b)),
    compared(
      'requests',
      '/s',
      rate(a, () => 1),
      rate(b, () => 1),
    ),
    compared('output tokens', '/s', rate(a, tokens), rate(b, tokens)),
    ...(slo ? [compared('good requests', 'share', share(a, slo), share(b, slo))] : []),
  ];
}
