import type { MetricObjectWithValues, MetricValueWithName } from 'prom-client';

type Exported = MetricObjectWithValues<MetricValueWithName<string>>;

export interface PlainHistogramOptions {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, rising. */
  readonly buckets: readonly number[];
}

/**
 * A histogram without labels that counts into arrays, for a registry of prom-client. Its own hashes the labels of every
 * observation and finds its numbers by name, which takes a microsecond or two: a twentieth of what a streamed token
 * costs.
 */
export class PlainHistogram {
  readonly name: string;
  readonly #options: PlainHistogramOptions;
  /** Observations above the bound before and up to each; above the last bound. */
  readonly #counts: number[];
  #sum = 0;

  constructor(options: PlainHistogramOptions) {
    this.name = options.name;
    this.#options = options;
    this.#counts = new Array<number>(options.buckets.length + 1).fill(0);
  }

  observe(value: number): void {
    const { buckets } = this.#options;
    let at = 0;
    while (at < buckets.length && value > (buckets[at] ?? 0)) at += 1;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += value;
  }

  /** Observes the seconds until the returned function is called. */
  startTimer(): () => void {
    const beganMs = performance.now();
    return () => {
      this.observe((performance.now() - beganMs) / 1_000);
    };
  }

  /** What a registry asks for. */
  get(): Promise<Exported> {
    const { name, help } = this.#options;
    const exported = { name, help, type: 'histogram', aggregator: 'sum', values: this.#values() };
    // prom-client declares the type as a number and has a word there itself, and asks for no `collect` of a result.
    return Promise.resolve(exported as unknown as Exported);
  }

  #values(): MetricValueWithName<string>[] {
    const { name, buckets } = this.#options;
    let count = 0;
    const bounds: (number | string)[] = [...buckets, '+Inf'];
    const values = bounds.map((le, at) => {
      count += this.#counts[at] ?? 0;
      return { metricName: `${name}_bucket`, labels: { le }, value: count };
    });
    const of = (suffix: string, value: number) => ({ metricName: `${name}_${suffix}`, labels: {}, value });
    return [...values, of('sum', this.#sum), of('count', count)];
  }
}
