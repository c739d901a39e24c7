import { SeededRandom } from '@kvcapsule/testing/scenes';

/** A number of many clusters, each of which counts as often as its weight says. */
export interface Estimator {
  readonly clusters: number;
  readonly estimate: (weights: Uint32Array) => number;
}

/** How many times as large one number is as another, with the ends of its 95 % interval. */
export interface Ratio {
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 1_000;
const SEED = 20260516;

/** A value and the cluster that it came with. */
export interface Member {
  readonly cluster: number;
  readonly value: number;
}

/** The quantile of members; what is no number is left out. */
export function quantileEstimator(members: readonly Member[], clusters: number, share: number): Estimator {
  const sorted = members.filter(({ value }) => Number.isFinite(value)).sort((a, b) => a.value - b.value);
  const values = Float64Array.from(sorted, ({ value }) => value);
  const places = Uint32Array.from(sorted, ({ cluster }) => cluster);
  const estimate = (weights: Uint32Array): number => {
    let total = 0;
    for (const place of places) total += weights[place] ?? 0;
    const rank = Math.max(1, Math.ceil(share * total));
    let seen = 0;
    for (let at = 0; at < places.length; at += 1) {
      seen += weights[places[at] ?? 0] ?? 0;
      if (seen >= rank) return values[at] ?? Number.NaN;
    }
    return Number.NaN;
  };
  return { clusters, estimate };
}

/** Sum of values over sum of weights: a mean of members, a rate of spans of time. */
export function ratioEstimator(
  clusters: readonly { readonly sum: number; readonly weight: number }[],
): Estimator {
  const estimate = (weights: Uint32Array): number => {
    let [sum, weight] = [0, 0];
    for (const [at, cluster] of clusters.entries()) {
      const times = weights[at] ?? 0;
      sum += times * cluster.sum;
      weight += times * cluster.weight;
    }
    return sum / weight;
  };
  return { clusters: clusters.length, estimate };
}

export const pointOf = ({ clusters, estimate }: Estimator): number =>
  estimate(new Uint32Array(clusters).fill(1));

/** `b` over `a`, by drawing clusters of both again and again; the same numbers give the same interval. */
export function bootstrapRatio(a: Estimator, b: Estimator): Ratio {
  const random = new SeededRandom(SEED);
  const ratio = pointOf(b) / pointOf(a);
  const drawn = Float64Array.from({ length: RESAMPLES }, () => resampled(b, random) / resampled(a, random));
  const known = drawn.filter(Number.isFinite).sort();
  const at = (share: number) =>
    known[Math.min(known.length - 1, Math.floor(share * known.length))] ?? Number.NaN;
  return { ratio, low: at(0.025), high: at(0.975) };
}

function resampled({ clusters, estimate }: Estimator, random: SeededRandom): number {
  const weights = new Uint32Array(clusters);
  for (let draw = 0; draw < clusters; draw += 1) {
    const at = Math.floor(random.next() * clusters);
    weights[at] = (weights[at] ?? 0) + 1;
  }
  return estimate(weights);
}
