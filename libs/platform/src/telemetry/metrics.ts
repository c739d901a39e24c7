import { collectDefaultMetrics, Counter, Gauge, type Metric, type MetricObject, Registry } from 'prom-client';

import { METRICS } from './catalogue.js';
import { LabelledHistogram, PlainHistogram } from './histogram.js';
import type { MetricSpec } from './metric-spec.js';
import { VERSION } from './version.js';

type Catalogue = typeof METRICS;
type Component = 'router' | 'worker';

type MetricOf<S extends MetricSpec> = S extends { readonly type: 'counter' }
  ? Counter<S['labels'][number]>
  : S extends { readonly type: 'gauge' }
    ? Gauge<S['labels'][number]>
    : S extends { readonly labels: readonly [] }
      ? PlainHistogram
      : LabelledHistogram<S['labels'][number]>;

type MetricsOf<Specs> = {
  readonly [K in keyof Specs]: Specs[K] extends MetricSpec ? MetricOf<Specs[K]> : never;
};

/** The component's metrics by their short names, and the registry that prints them (`registry.metrics()`). */
export type Metrics<C extends Component> = MetricsOf<Catalogue['common']> &
  MetricsOf<Catalogue[C]> & { readonly registry: Registry };

export type RouterMetrics = Metrics<'router'>;
export type WorkerMetrics = Metrics<'worker'>;

/** Makes every metric of one component, and Node's own (`process_*`, `nodejs_*`), in a registry of their own. */
export function createMetrics<C extends Component>(component: C): Metrics<C> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const specs: Record<string, MetricSpec> = { ...METRICS.common, ...METRICS[component] };
  const made = Object.entries(specs).map(([key, spec]) => [key, createMetric(spec, registry)] as const);
  const metrics = { ...Object.fromEntries(made), registry } as Metrics<C>;
  metrics.buildInfo.set({ component, version: VERSION, node: process.versions.node }, 1);
  return metrics;
}

/** The metrics of one process as they go to another one. */
export type ProcessMetrics = readonly MetricObject[];

export function metricsOfProcess({ registry }: RouterMetrics): Promise<ProcessMetrics> {
  return registry.getMetricsAsJSON();
}

function createMetric(
  spec: MetricSpec,
  registry: Registry,
): Counter | Gauge | LabelledHistogram<string> | PlainHistogram {
  const common = { name: spec.name, help: spec.help, labelNames: [...spec.labels], registers: [registry] };
  switch (spec.type) {
    case 'counter':
      return new Counter(common);
    case 'gauge':
      return new Gauge({ ...common, ...('together' in spec && { aggregator: spec.together }) });
    case 'histogram':
      return histogram(spec, registry);
  }
}

function histogram(
  spec: MetricSpec & { readonly type: 'histogram' },
  registry: Registry,
): LabelledHistogram<string> | PlainHistogram {
  const made = spec.labels.length === 0 ? new PlainHistogram(spec) : new LabelledHistogram<string>(spec);
  // A registry asks a metric for its name and `get` alone.
  registry.registerMetric(made as unknown as Metric);
  return made;
}
