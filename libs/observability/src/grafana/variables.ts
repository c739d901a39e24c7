import type { DataSourceRef } from '@grafana/grafana-foundation-sdk/common';
import {
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';

import { METRICS, type MetricSpec } from '@kvcapsule/platform/telemetry';

import { withMatchers } from '../promql/promql.js';

export const DATASOURCE: DataSourceRef = { type: 'prometheus', uid: '${datasource}' };

/** Chosen at the top of a dashboard. `.*` for all of them also takes targets that lack the label. */
const CHOICES = [
  {
    ...{ name: 'namespace', label: 'Namespace', of: 'kvcapsule_router_workers', by: 'namespace' },
    what: 'Where the cluster runs, for a Prometheus that watches several',
  },
  {
    ...{ name: 'model', label: 'Model', by: 'model' },
    of: 'kvcapsule_router_model_workers{namespace=~"$namespace"}',
    what: 'As clients name it; of routers’ metrics by model, and of the workers that serve it',
  },
  {
    ...{ name: 'worker', label: 'Worker', by: 'instance' },
    of: 'kvcapsule_worker_info{namespace=~"$namespace",model=~"$model"}',
    what: 'By its address; of workers’ metrics',
  },
] as const;

const OF_ALL = ['namespace=~"$namespace"'];
const OF_MODELS = [...OF_ALL, 'model=~"$model"'];
const OF_WORKERS = [...OF_MODELS, 'instance=~"$worker"'];

const specs: readonly MetricSpec[] = Object.values(METRICS.router);
const BY_MODEL = specs.filter(({ labels }) => labels.includes('model')).map(({ name }) => name);

/** The expression about what the dashboard's variables choose: a namespace, models, some of the workers that serve them. */
export function chosen(expr: string): string {
  return withMatchers(expr, (metric) => {
    if (metric.startsWith('kvcapsule_worker_')) return OF_WORKERS;
    return BY_MODEL.includes(metric.replace(/_(bucket|sum|count)$/, '')) ? OF_MODELS : OF_ALL;
  });
}

/** The expression as Grafana asks it for who chooses nothing, where rates look back so far and so much is shown. */
export function unchosen(expr: string, rateSeconds: number, shownSeconds: number): string {
  return expr
    .replaceAll(/\$(namespace|model|worker)\b/g, '.*')
    .replaceAll('$__rate_interval', `${String(rateSeconds)}s`)
    .replaceAll('$__range', `${String(Math.ceil(shownSeconds))}s`);
}

export function variables(): (DatasourceVariableBuilder | QueryVariableBuilder)[] {
  const datasource = new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus');
  return [datasource, ...CHOICES.map(choice)];
}

function choice({ name, label, of, by, what }: (typeof CHOICES)[number]): QueryVariableBuilder {
  const definition = `label_values(${of}, ${by})`;
  return new QueryVariableBuilder(name)
    .label(label)
    .description(what)
    .datasource(DATASOURCE)
    .definition(definition)
    .query({ query: definition, refId: `choice-${name}` })
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current({ text: 'All', value: '$__all' });
}
