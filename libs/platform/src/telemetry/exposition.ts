import {
  AggregatorRegistry,
  type MetricObject,
  type MetricObjectWithValues,
  type MetricValueWithName,
  Registry,
  type RegistryContentType,
} from 'prom-client';

import { prefers } from '../http/index.js';
import type { ProcessMetrics } from './metrics.js';

/** Prometheus' own text format, or OpenMetrics, which has exemplars too. */
export type Format = 'text' | 'openmetrics';

export const CONTENT_TYPES = {
  text: Registry.PROMETHEUS_CONTENT_TYPE,
  openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
} as const satisfies Record<Format, string>;

/** The format that a scraper asks for. */
export function formatOf(accept: string | undefined): Format {
  return prefers(accept, 'application/openmetrics-text', 'text/plain') ? 'openmetrics' : 'text';
}

/** The metrics of several processes as those of one: sums, if not declared otherwise. */
export async function exposeTogether(
  processes: readonly ProcessMetrics[],
  format: Format = 'text',
): Promise<string> {
  if (format === 'text') return AggregatorRegistry.aggregate([...processes]).metrics();
  const named = processes.map((metrics) => metrics.map(withoutTotal));
  const registry: Registry<RegistryContentType> = AggregatorRegistry.aggregate(named);
  registry.setContentType(CONTENT_TYPES.openmetrics);
  const exemplars = exemplarsOf(named);
  for (const { values } of (await registry.getMetricsAsJSON()) as MetricObjectWithValues<Value>[])
    for (const value of values) value.exemplar ??= exemplars.get(keyOf(value));
  return registry.metrics();
}

/** What may only rise, of several processes as of one: counters and histograms. */
export function countsOf(processes: readonly ProcessMetrics[]): Promise<ProcessMetrics> {
  // prom-client declares the type as a number and has a word there itself
  const isCount = ({ type }: MetricObject) => ['counter', 'histogram'].includes(type as unknown as string);
  return AggregatorRegistry.aggregate(processes.map((metrics) => metrics.filter(isCount))).getMetricsAsJSON();
}

type Value = MetricValueWithName<string> & { exemplar?: Exemplar | undefined };
interface Exemplar {
  readonly timestamp: number;
}

/** OpenMetrics names a counter without what its samples end with, which prom-client adds. */
function withoutTotal(metric: MetricObject): MetricObject {
  // prom-client declares the type as a number and has a word there itself
  const isCounter = (metric.type as unknown) === 'counter';
  return isCounter ? { ...metric, name: metric.name.replace(/_total$/, '') } : metric;
}

const keyOf = ({ metricName, labels }: Value): string => JSON.stringify([metricName, labels]);

/** Of each sample the newest, since adding up leaves them out. */
function exemplarsOf(processes: readonly ProcessMetrics[]): ReadonlyMap<string, Exemplar> {
  const newest = new Map<string, Exemplar>();
  for (const { values } of processes.flat() as MetricObjectWithValues<Value>[])
    for (const value of values) {
      const { exemplar } = value;
      const known = newest.get(keyOf(value));
      if (exemplar && !(known && known.timestamp > exemplar.timestamp)) newest.set(keyOf(value), exemplar);
    }
  return newest;
}
