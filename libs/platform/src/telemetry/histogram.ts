import type { MetricObjectWithValues, MetricValueWithName } from 'prom-client';

type Exported = MetricObjectWithValues<MetricValueWithName<string>>;
type Value = MetricValueWithName<string> & { readonly exemplar?: Exemplar };

interface Exemplar {
  readonly labelSet: { readonly trace_id: string };
  readonly value: number;
  /** Unix time in seconds. */
  readonly timestamp: number;
}

export interface HistogramOptions {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, rising. */
  readonly buckets: readonly number[];
}

/** What is observed under one set of labels. */
export class HistogramSeries {
  /** Observations above the bound before and up to each; above the last bound. */
  readonly #counts: number[];
  /** Of each of those the newest observation that belongs to a trace. */
  #exemplars: (Exemplar | undefined)[] | undefined;
  #sum = 0;
  #twin: HistogramSeries | undefined;

  constructor(private readonly buckets: readonly number[]) {
    this.#counts = new Array<number>(buckets.length + 1).fill(0);
  }

  /** What is observed here from now on is observed there, too. */
  copyTo(twin: HistogramSeries): void {
    this.#twin = twin;
  }

  /** @param traceId of the recorded trace that it belongs to */
  observe(value: number, traceId?: string): void {
    const { buckets } = this;
    let at = 0;
    while (at < buckets.length && value > (buckets[at] ?? 0)) at += 1;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += value;
    this.#twin?.observe(value, traceId);
    if (traceId === undefined) return;
    this.#exemplars ??= new Array<undefined>(buckets.length + 1).fill(undefined);
    this.#exemplars[at] = { labelSet: { trace_id: traceId }, value, timestamp: Date.now() / 1_000 };
  }

  /** Observes the seconds until the returned function is called. */
  startTimer(): () => void {
    const beganMs = performance.now();
    return () => {
      this.observe((performance.now() - beganMs) / 1_000);
    };
  }

  values(name: string, labels: Readonly<Record<string, string>>): Value[] {
    let count = 0;
    const bounds: (number | string)[] = [...this.buckets, '+Inf'];
    const values = bounds.map((le, at): Value => {
      count += this.#counts[at] ?? 0;
      const exemplar = this.#exemplars?.[at];
      const bucket = { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count };
      return exemplar ? { ...bucket, exemplar } : bucket;
    });
    const of = (suffix: string, value: number) => ({ metricName: `${name}_${suffix}`, labels, value });
    return [...values, of('sum', this.#sum), of('count', count)];
  }
}

/**
 * A histogram that counts into arrays, for a registry of prom-client. Its own hashes the labels of every observation
 * and finds its numbers by name, which takes a microsecond or two: a twentieth of what a streamed token costs.
 */
abstract class ArrayHistogram {
  readonly name: string;

  constructor(protected readonly options: HistogramOptions) {
    this.name = options.name;
  }

  protected abstract values(): Value[];

  /** What a registry asks for. */
  get(): Promise<Exported> {
    const { name, help } = this.options;
    const exported = { name, help, type: 'histogram', aggregator: 'sum', values: this.values() };
    // prom-client declares the type as a number and has a word there itself, and asks for no `collect` of a result.
    return Promise.resolve(exported as unknown as Exported);
  }
}

/** A histogram without labels. */
export class PlainHistogram extends ArrayHistogram {
  readonly #series = new HistogramSeries(this.options.buckets);

  observe(value: number, traceId?: string): void {
    this.#series.observe(value, traceId);
  }

  startTimer(): () => void {
    return this.#series.startTimer();
  }

  copyTo(twin: HistogramSeries): void {
    this.#series.copyTo(twin);
  }

  protected values(): Value[] {
    return this.#series.values(this.name, {});
  }
}

/** A histogram with labels: who observes often keeps the series that `labels` gives. */
export class LabelledHistogram<Label extends string> extends ArrayHistogram {
  readonly #series = new Map<string, { labels: Record<string, string>; series: HistogramSeries }>();
  #twinOf: ((labels: Readonly<Record<Label, string>>) => HistogramSeries) | undefined;

  /** What is observed under labels that come from now on is observed there, too. */
  copyTo(twinOf: (labels: Readonly<Record<Label, string>>) => HistogramSeries): void {
    this.#twinOf = twinOf;
  }

  labels(labels: Readonly<Record<Label, string>>): HistogramSeries {
    const key = JSON.stringify(Object.values(labels));
    let known = this.#series.get(key);
    if (!known) {
      known = { labels: { ...labels }, series: new HistogramSeries(this.options.buckets) };
      this.#series.set(key, known);
      const twin = this.#twinOf?.(labels);
      if (twin) known.series.copyTo(twin);
    }
    return known.series;
  }

  protected values(): Value[] {
    return [...this.#series.values()].flatMap(({ labels, series }) => series.values(this.name, labels));
  }
}
