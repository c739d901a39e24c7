import { isDeepStrictEqual } from 'node:util';
import type { Manifest } from '../helm.js';

/** What of a spec an API server does not let change. */
type Kept = (spec: Readonly<Record<string, unknown>>) => object;

const alone =
  (...fields: string[]): Kept =>
  (spec) =>
    Object.fromEntries(fields.map((field) => [field, spec[field]]));

const allBut =
  (...fields: string[]): Kept =>
  (spec) =>
    Object.fromEntries(Object.entries(spec).filter(([field]) => !fields.includes(field)));

const SET_CHANGEABLE = [
  ...['replicas', 'template', 'updateStrategy', 'ordinals', 'minReadySeconds'],
  ...['persistentVolumeClaimRetentionPolicy', 'revisionHistoryLimit'],
];

const KEPT: Readonly<Record<string, Kept>> = {
  Deployment: alone('selector'),
  DaemonSet: alone('selector'),
  StatefulSet: allBut(...SET_CHANGEABLE),
  Job: alone(
    'selector',
    'template',
    'completionMode',
    'completions',
    'podFailurePolicy',
    'backoffLimitPerIndex',
  ),
  Pod: allBut('activeDeadlineSeconds', 'tolerations'),
  Service: alone('clusterIP'),
  // of the resources it may ask for more
  PersistentVolumeClaim: allBut('resources', 'volumeAttributesClassName'),
};

const UNITS = 'kMGTPE';

/** Bytes of a quantity such as `1Gi`. */
function bytesOf(quantity: string): number {
  const [, number = '', unit = '', binary = ''] = /^([0-9.]+)([kKMGTPE]?)(i?)$/.exec(quantity) ?? [];
  return Number(number) * (binary ? 1024 : 1000) ** (UNITS.indexOf(unit.replace('K', 'k')) + 1);
}

function storageOf({ spec }: Manifest): number {
  const { requests } = (spec?.['resources'] ?? {}) as { requests?: { storage?: string } };
  return bytesOf(requests?.storage ?? '0');
}

/** Of a rendering, what later ones may not change. */
export function keptOf(objects: readonly Manifest[]): Manifest[] {
  return objects
    .filter((object) => !isHook(object) && KEPT[object.kind] !== undefined)
    .map(({ apiVersion, kind, metadata: { name }, spec = {} }) => ({
      ...{ apiVersion, kind, metadata: { name } },
      spec: (KEPT[kind] ?? alone())(spec) as Record<string, unknown>,
    }));
}

const isHook = ({ metadata }: Manifest): boolean => metadata.annotations?.['helm.sh/hook'] !== undefined;

/** What of an upgrade from one rendering to the other an API server would refuse. */
export function upgradeFaults(before: readonly Manifest[], after: readonly Manifest[]): string[] {
  return before.flatMap((old) => {
    const now = after.find(({ kind, metadata }) => kind === old.kind && metadata.name === old.metadata.name);
    // Helm makes hooks anew
    if (now === undefined || isHook(old)) return [];
    const at = `${old.kind} ${old.metadata.name}`;
    return [
      ...changedFields(old, now).map((field) => `${at}: ${field} cannot be changed`),
      ...(old.kind === 'PersistentVolumeClaim' && storageOf(now) < storageOf(old)
        ? [`${at}: it cannot ask for less`]
        : []),
    ];
  });
}

function changedFields(old: Manifest, now: Manifest): string[] {
  const keep = KEPT[old.kind] ?? alone();
  const [were, are] = [old, now].map(({ spec = {} }) => keep(spec) as Record<string, unknown>);
  const fields = new Set([...Object.keys(were ?? {}), ...Object.keys(are ?? {})]);
  const changed = [...fields].filter((field) => !isDeepStrictEqual(were?.[field], are?.[field]));
  const isSealed = (old as { immutable?: boolean }).immutable === true;
  const types = [old, now].map((object) => (object as { type?: string }).type);
  return [
    ...changed,
    ...(isSealed && !isDeepStrictEqual(old.data, now.data) ? ['data'] : []),
    ...(old.kind === 'Secret' && types[0] !== types[1] ? ['type'] : []),
  ];
}
