import type { GapHistogram } from './gap-histogram.js';

/** Of many times, in ms; `null` of none. */
export interface Distribution {
  readonly count: number;
  readonly mean: number | null;
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly p999: number | null;
  readonly most: number | null;
}

/** Ascending, what is no number left out. */
export const sortedOf = (values: Iterable<number>): Float64Array =>
  Float64Array.from([...values].filter(Number.isFinite)).sort();

/** The smallest value that at least `share` of all do not exceed; NaN of none. */
export const quantileOf = (sorted: Float64Array, share: number): number =>
  sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;

export const meanOf = (values: Float64Array): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Microseconds are as fine as anything here is known. */
export const toMicroseconds = (ms: number): number => Math.round(1_000 * ms) / 1_000;

const known = (ms: number): number | null => (Number.isFinite(ms) ? toMicroseconds(ms) : null);

function distribution(
  count: number,
  mean: number,
  most: number,
  quantile: (share: number) => number,
): Distribution {
  const at = (share: number) => known(quantile(share));
  const tail = { p90: at(0.9), p95: at(0.95), p99: at(0.99), p999: at(0.999) };
  return { count, mean: known(mean), p50: at(0.5), ...tail, most: known(most) };
}

export function distributionOf(values: Iterable<number>): Distribution {
  const sorted = sortedOf(values);
  return distribution(sorted.length, meanOf(sorted), quantileOf(sorted, 1), (share) =>
    quantileOf(sorted, share),
  );
}

export const distributionOfGaps = (gaps: GapHistogram): Distribution =>
  distribution(gaps.count, gaps.meanMs, gaps.mostMs, (share) => gaps.quantileMs(share));
