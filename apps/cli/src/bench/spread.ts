import { quantile } from '@kvcapsule/evaluation/statistics';

export interface Spread {
  readonly median: number;
  readonly q25: number;
  readonly q75: number;
  readonly n: number;
}

export function spread(samples: readonly number[]): Spread {
  return {
    median: quantile(samples, 0.5),
    q25: quantile(samples, 0.25),
    q75: quantile(samples, 0.75),
    n: samples.length,
  };
}

/** `numerator[i] / denominator[i]` of rounds measured one right after the other. */
export function pairedRatio(numerator: readonly number[], denominator: readonly number[]): Spread {
  return spread(numerator.map((value, index) => value / (denominator[index] ?? Number.NaN)));
}
