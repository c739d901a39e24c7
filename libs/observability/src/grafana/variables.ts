import type { DataSourceRef } from '@grafana/grafana-foundation-sdk/common';
import {
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';

import { withMatchers } from '../promql/promql.js';

export const DATASOURCE: DataSourceRef = { type: 'prometheus', uid: '${datasource}' };

/** Chosen at the top of a dashboard. `.*` for all of them also takes targets that lack the label. */
const CHOICES = [
  { name: 'namespace', label: 'Namespace', of: 'kvcapsule_router_workers', by: 'namespace' },
  { name: 'model', label: 'Model', of: 'kvcapsule_worker_pages_free{namespace=~"$namespace"}', by: 'model' },
  {
    name: 'worker',
    label: 'Worker',
    of: 'kvcapsule_worker_pages_free{namespace=~"$namespace",model=~"$model"}',
    by: 'instance',
  },
] as const;

const OF_ALL = ['namespace=~"$namespace"'];
const OF_WORKERS = [...OF_ALL, 'model=~"$model"', 'instance=~"$worker"'];

/** The expression about what the dashboard's variables choose: a namespace's routers, and the workers among those. */
export function chosen(expr: string): string {
  return withMatchers(expr, (metric) => (metric.startsWith('kvcapsule_worker_') ? OF_WORKERS : OF_ALL));
}

/** What Grafana puts in place of the variables for who chooses nothing, with ranges of `seconds`. */
export function unchosen(expr: string, seconds: number): string {
  return expr
    .replaceAll(/\$(namespace|model|worker)\b/g, '.*')
    .replaceAll(/\$__(rate_interval|interval|range)\b/g, `${String(seconds)}s`);
}

export function variables(): (DatasourceVariableBuilder | QueryVariableBuilder)[] {
  const datasource = new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus');
  return [datasource, ...CHOICES.map(choice)];
}

function choice({ name, label, of, by }: (typeof CHOICES)[number]): QueryVariableBuilder {
  const definition = `label_values(${of}, ${by})`;
  return new QueryVariableBuilder(name)
    .label(label)
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
