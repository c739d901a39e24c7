import { SeededRandom } from '@kvcapsule/testing';

/** KL(p || q) in nats of two rows of logits. */
export function klNats(p: Float32Array, q: Float32Array): number {
  const [normaliserP, normaliserQ] = [logNormaliser(p), logNormaliser(q)];
  let sum = 0;
  for (let index = 0; index < p.length; index++) {
    const [a, b] = [p[index] ?? Number.NaN, q[index] ?? Number.NaN];
    sum += Math.exp(a - normaliserP) * (a - normaliserP - (b - normaliserQ));
  }
  // Rounding alone can make it negative by some 1e-8.
  return Math.max(0, sum);
}

export function logNormaliser(logits: Float32Array): number {
  let top = -Infinity;
  for (const logit of logits) top = Math.max(top, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - top);
  return top + Math.log(sum);
}

/** The first of equals. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let index = 1; index < logits.length; index++) {
    if ((logits[index] ?? -Infinity) > (logits[best] ?? -Infinity)) best = index;
  }
  return best;
}

/** The smallest value that at least `share` of all values do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export interface Estimate {
  readonly value: number;
  /** Ends of the 95 % interval. */
  readonly low: number;
  readonly high: number;
}

/** What one picture adds to a ratio of sums. */
export interface Cluster {
  readonly sum: number;
  readonly weight: number;
}

const RESAMPLES = 4000;
const BOOTSTRAP_SEED = 20260516;

/**
 * Sum of sums over sum of weights, with a 95 % percentile interval from resampling whole pictures: questions
 * about one picture are not independent. The same numbers give the same interval.
 */
export function clusteredRatio(clusters: readonly Cluster[]): Estimate {
  const total = (field: keyof Cluster) => clusters.reduce((sum, cluster) => sum + cluster[field], 0);
  const value = total('sum') / total('weight');
  const random = new SeededRandom(BOOTSTRAP_SEED);
  const [sums, weights] = [
    Float64Array.from(clusters, ({ sum }) => sum),
    Float64Array.from(clusters, ({ weight }) => weight),
  ];
  const ratios = Array.from({ length: RESAMPLES }, () => {
    let [sum, weight] = [0, 0];
    for (let draw = 0; draw < sums.length; draw++) {
      const at = Math.floor(random.next() * sums.length);
      sum += sums[at] ?? 0;
      weight += weights[at] ?? 0;
    }
    return sum / weight;
  }).filter((ratio) => Number.isFinite(ratio));
  return { value, low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) };
}

/**
 * A paired difference of shares. Where no pair differs, resampling would claim certainty; the rule of three
 * bounds it instead: what was not seen in n trials has a share below 3/n with 95 % confidence.
 */
export function pairedDifference(clusters: readonly Cluster[], differing: number): Estimate {
  if (differing > 0) return clusteredRatio(clusters);
  const trials = clusters.reduce((sum, { weight }) => sum + weight, 0);
  return { value: 0, low: -3 / trials, high: 3 / trials };
}
