import type { Metric, MetricObject, Registry } from 'prom-client';

import { LabelledHistogram } from '../histogram.js';
import type { RouterMetrics, WorkerMetrics } from '../metrics.js';
import { UNKNOWN_MODEL } from '../router-metrics.js';
import { ROUTER_HISTOGRAMS, workerHistograms } from './names.js';

type Labels = Readonly<Record<string, string>>;
interface Sample {
  readonly labels: Labels;
  readonly value: number;
}
/** One of ours, by what it says when it is asked. */
interface Source {
  get(): Promise<{ readonly values: readonly { readonly labels: object; readonly value: number }[] }>;
}
type Derive = () => Promise<readonly Sample[]>;

/** Of a router, whose measures are of no one engine. */
const ROUTER_ENGINE = 'router';

/** Counters and gauges that are made of ours when they are asked for. */
class Derived {
  constructor(
    private readonly registry: Registry,
    private readonly common: Labels,
  ) {}

  counter(name: string, help: string, derive: Derive): void {
    this.#add(`vllm:${name}_total`, help, 'counter', derive);
  }

  gauge(name: string, help: string, derive: Derive): void {
    this.#add(`vllm:${name}`, help, 'gauge', derive);
  }

  #add(name: string, help: string, type: 'counter' | 'gauge', derive: Derive): void {
    const get = async (): Promise<MetricObject> => {
      const samples = await derive();
      const values = samples.map(({ labels, value }) => ({ labels: { ...this.common, ...labels }, value }));
      // prom-client declares the type as a number and has a word there itself
      return { name, help, type, aggregator: 'sum', values } as unknown as MetricObject;
    };
    // a registry asks a metric for its name and `get` alone
    this.registry.registerMetric({ name, get } as unknown as Metric);
  }
}

/** The sum of a metric's samples that have these labels. */
async function sumOf(metric: Source, labels: Labels = {}): Promise<number> {
  const { values } = await metric.get();
  const fits = (of: object) => Object.entries(labels).every(([key, value]) => (of as Labels)[key] === value);
  return values.reduce((sum, sample) => sum + (fits(sample.labels) ? sample.value : 0), 0);
}

const one = async (value: Promise<number>): Promise<Sample[]> => [{ labels: {}, value: await value }];

/** Adds what a client sees of each model to the router's metrics, under vLLM's names. Call before anything is observed. */
export function addVllmRouterMetrics(metrics: RouterMetrics): void {
  const { registry } = metrics;
  for (const [key, [name, buckets]] of Object.entries(ROUTER_HISTOGRAMS)) {
    const ours = metrics[key as keyof typeof ROUTER_HISTOGRAMS];
    const twin = new LabelledHistogram<'model_name' | 'engine'>({ name, help: helpOf(name), buckets });
    ours.copyTo(({ model }) => twin.labels({ model_name: model, engine: ROUTER_ENGINE }));
    registry.registerMetric(twin as unknown as Metric);
  }
  const derived = new Derived(registry, { engine: ROUTER_ENGINE });
  derived.counter('request_success', 'Count of successfully processed requests.', async () => [
    ...(await finishedOf(metrics)),
    ...(await abortedOf(metrics)),
  ]);
}

async function finishedOf({ finished }: RouterMetrics): Promise<Sample[]> {
  const { values } = await finished.get();
  return values.map(({ labels: { model = '', reason = '' }, value }) => ({
    labels: { model_name: String(model), finished_reason: String(reason) },
    value,
  }));
}

/** What clients gave up, or were too slow for, before or after the answer had begun: to vLLM these are successes. */
async function abortedOf({ requests }: RouterMetrics): Promise<Sample[]> {
  const { values } = await requests.get();
  const sums = new Map<string, number>();
  for (const { labels, value } of values) {
    const { model = UNKNOWN_MODEL, code } = labels;
    if (model === UNKNOWN_MODEL || (code !== 'aborted' && code !== 'client_too_slow')) continue;
    sums.set(String(model), (sums.get(String(model)) ?? 0) + value);
  }
  return [...sums].map(([model_name, value]) => ({
    labels: { model_name, finished_reason: 'abort' },
    value,
  }));
}

/** Adds what an engine knows to a worker's metrics, under vLLM's names. */
export function addVllmWorkerMetrics(
  metrics: WorkerMetrics,
  { modelName, engine, contextTokens }: { modelName: string; engine: string; contextTokens: number },
): void {
  const { registry } = metrics;
  const labels = { model_name: modelName, engine };
  for (const [key, [name, buckets]] of Object.entries(workerHistograms(contextTokens))) {
    const twin = new LabelledHistogram<'model_name' | 'engine'>({ name, help: helpOf(name), buckets });
    metrics[key as keyof ReturnType<typeof workerHistograms>].copyTo(twin.labels(labels));
    registry.registerMetric(twin as unknown as Metric);
  }
  const derived = new Derived(registry, labels);
  addGauges(derived, metrics);
  addCounters(derived, metrics);
}

function addGauges(derived: Derived, metrics: WorkerMetrics): void {
  const { requestsRunning, requestsWaiting, pages } = metrics;
  derived.gauge('num_requests_running', 'Number of requests in model execution batches.', () =>
    one(sumOf(requestsRunning)),
  );
  derived.gauge('num_requests_waiting', 'Number of requests waiting to be processed.', () =>
    one(sumOf(requestsWaiting)),
  );
  derived.gauge('num_requests_waiting_by_reason', 'Number of waiting requests by reason.', async () => [
    { labels: { reason: 'capacity' }, value: await sumOf(requestsWaiting) },
    { labels: { reason: 'deferred' }, value: 0 },
  ]);
  derived.gauge('kv_cache_usage_perc', 'KV-cache usage. 1 means 100 percent usage.', async () => {
    const all = await sumOf(pages);
    const idle = (await sumOf(pages, { state: 'cached' })) + (await sumOf(pages, { state: 'free' }));
    return [{ labels: {}, value: all > 0 ? (all - idle) / all : 0 }];
  });
}

function addCounters(derived: Derived, metrics: WorkerMetrics): void {
  const { prefixTokens, encoderCacheLookups, preemptions, tokens } = metrics;
  const hit = { outcome: 'hit' };
  const miss = { outcome: 'miss' };
  const add = (name: string, help: string, source: Source, labels?: Labels) => {
    derived.counter(name, help, () => one(sumOf(source, labels)));
  };
  add('prefix_cache_queries', 'Prefix cache queries, in terms of number of queried tokens.', prefixTokens);
  add('prefix_cache_hits', 'Prefix cache hits, in terms of number of cached tokens.', prefixTokens, hit);
  add('mm_cache_queries', 'Multi-modal cache queries, in number of queried items.', encoderCacheLookups);
  add('mm_cache_hits', 'Multi-modal cache hits, in number of cached items.', encoderCacheLookups, hit);
  add('num_preemptions', 'Cumulative number of preemption from the engine.', preemptions);
  add('prompt_tokens', 'Number of prefill tokens processed.', tokens, { kind: 'prompt' });
  add('generation_tokens', 'Number of generation tokens processed.', tokens, { kind: 'completion' });
  add('prompt_tokens_cached', 'Number of cached prompt tokens.', prefixTokens, hit);
  derived.counter('prompt_tokens_by_source', 'Number of prompt tokens by source.', async () => [
    { labels: { source: 'local_compute' }, value: await sumOf(prefixTokens, miss) },
    { labels: { source: 'local_cache_hit' }, value: await sumOf(prefixTokens, hit) },
    { labels: { source: 'external_kv_transfer' }, value: 0 },
  ]);
}

const helpOf = (name: string): string => `Histogram of ${name.replace('vllm:', '').replaceAll('_', ' ')}.`;
