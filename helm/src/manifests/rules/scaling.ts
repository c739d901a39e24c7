import type { Manifest } from '../helm.js';

/** Bounds of autoscalers and budgets, groups of rules. */
export function scalingFaults(objects: readonly Manifest[]): string[] {
  return objects.flatMap(({ kind, metadata, spec = {} }) =>
    faultsOf(kind, spec).map((fault) => `${kind} ${metadata.name}: ${fault}`),
  );
}

function faultsOf(kind: string, spec: Readonly<Record<string, unknown>>): string[] {
  switch (kind) {
    case 'HorizontalPodAutoscaler':
      return [...bounds(spec['minReplicas'], spec['maxReplicas'], 1), ...some(spec['metrics'], 'metric')];
    case 'ScaledObject':
      return [
        ...bounds(spec['minReplicaCount'], spec['maxReplicaCount'], 0),
        ...some(spec['triggers'], 'trigger'),
      ];
    case 'PodDisruptionBudget':
      return 'minAvailable' in spec === 'maxUnavailable' in spec
        ? ['needs one of minAvailable and maxUnavailable']
        : [];
    case 'PrometheusRule':
      return groups(spec['groups'] as readonly RuleGroup[]);
    default:
      return [];
  }
}

function bounds(least: unknown, most: unknown, floor: number): string[] {
  const [min, max] = [Number(least), Number(most)];
  return min >= floor && max >= 1 && min <= max ? [] : [`scales between ${min} and ${max}`];
}

const some = (list: unknown, what: string) =>
  Array.isArray(list) && list.length > 0 ? [] : [`has no ${what}`];

interface RuleGroup {
  readonly name: string;
  readonly rules: readonly { readonly alert?: string; readonly record?: string; readonly expr?: string }[];
}

function groups(all: readonly RuleGroup[]): string[] {
  const names = all.map(({ name }) => name);
  return [
    ...(new Set(names).size === names.length ? [] : ['two groups have one name']),
    ...all.flatMap(({ name, rules }) =>
      rules
        .filter(({ alert, record, expr }) => (alert === undefined) === (record === undefined) || !expr)
        .map(() => `group ${name} has a rule that is neither an alert nor a record`),
    ),
  ];
}
