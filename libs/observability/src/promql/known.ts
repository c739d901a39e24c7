import { createMetrics, METRICS, type MetricSpec } from '@kvcapsule/platform/telemetry';

import { RECORDING_GROUPS } from '../rules/recording.js';
import { read } from './promql.js';

/** What Prometheus gives every series of a target; `model` and `namespace` where there are such. */
const TARGET_LABELS = ['job', 'instance', 'namespace', 'model'];
/** Series that Prometheus makes itself. */
const OWN_SERIES: readonly (readonly [string, readonly string[]])[] = [
  ['up', TARGET_LABELS],
  ['ALERTS', ['alertname', 'alertstate', 'severity', 'namespace']],
];

function knownSeries(): ReadonlyMap<string, ReadonlySet<string>> {
  const specs: MetricSpec[] = Object.values(METRICS).flatMap((part) => Object.values<MetricSpec>(part));
  const ours = specs.flatMap((spec) => seriesOf(spec.name, spec.labels, spec.type === 'histogram'));
  const records = RECORDING_GROUPS.flatMap(({ rules }) =>
    rules.map(({ record, expr }) => [record, read(expr).groupings.flatMap(({ labels }) => labels)] as const),
  );
  const all = [...ours, ...nodesOwn(), ...records, ...OWN_SERIES];
  return new Map(all.map(([name, labels]) => [name, new Set(labels)]));
}

function nodesOwn(): (readonly [string, readonly string[]])[] {
  const { registry } = createMetrics('router');
  return registry
    .getMetricsAsArray()
    .filter(({ name }) => !name.startsWith('kvcapsule_'))
    .flatMap(({ name, type }) => seriesOf(name, [], String(type) === 'histogram'));
}

function seriesOf(
  name: string,
  labels: readonly string[],
  isHistogram: boolean,
): (readonly [string, readonly string[]])[] {
  const of = [...TARGET_LABELS, ...labels];
  if (!isHistogram) return [[name, of]];
  return [
    [`${name}_bucket`, [...of, 'le']],
    [`${name}_sum`, of],
    [`${name}_count`, of],
  ];
}

/** Every series that a cluster and its rules have, with the labels of each. */
export const KNOWN_SERIES = knownSeries();

/** What an expression asks for that nothing has, a line each: a metric, or a label on one. */
export function unknownIn(expr: string): string[] {
  const { selectors, groupings } = read(expr);
  const missing = (metric: string, labels: readonly string[]): string[] =>
    labels
      .filter((label) => KNOWN_SERIES.get(metric)?.has(label) === false)
      .map((label) => `${metric}{${label}}`);
  return [
    ...selectors.filter(({ metric }) => !KNOWN_SERIES.has(metric)).map(({ metric }) => metric),
    ...selectors.flatMap(({ metric, labels }) => missing(metric, labels)),
    ...groupings.flatMap(({ labels, metrics }) => metrics.flatMap((metric) => missing(metric, labels))),
  ];
}
