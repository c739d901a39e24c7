import type { Manifest } from '../helm.js';
import { containersOf, type Pod, podsOf, type Volume } from './pods.js';

type Labels = Readonly<Record<string, string>>;

/** Objects and keys that others name are there; what is the user's own (in `given`, as `Secret NAME`) may be missing. */
export function referenceFaults(objects: readonly Manifest[], given: ReadonlySet<string>): string[] {
  return [
    ...podsOf(objects).flatMap((pod) => volumeFaults(pod, objects, given)),
    ...containersOf(objects).flatMap(({ container, at }) =>
      (container.env ?? []).flatMap(({ name, valueFrom }) => {
        const secret = valueFrom?.secretKeyRef;
        const fault = secret && keyFault(objects, given, 'Secret', secret.name, [secret.key]);
        return fault === undefined ? [] : [`${at}, variable ${name}: ${fault}`];
      }),
    ),
    ...podsOf(objects).flatMap(({ at, spec }) => accountFault(at, spec.serviceAccountName, objects)),
    ...objects.flatMap((object) => selectorFaults(object, objects)),
    ...objects.flatMap((object) => targetFaults(object, objects)),
  ];
}

function volumeFaults({ at, spec }: Pod, objects: readonly Manifest[], given: ReadonlySet<string>): string[] {
  return (spec.volumes ?? []).flatMap((volume) => {
    const fault = sourceFault(volume, objects, given);
    return fault === undefined ? [] : [`${at}, volume ${volume.name}: ${fault}`];
  });
}

function sourceFault(volume: Volume, objects: readonly Manifest[], given: ReadonlySet<string>) {
  const { configMap, secret, persistentVolumeClaim } = volume;
  const keys = (configMap?.items ?? secret?.items ?? []).map(({ key }) => key);
  if (configMap && !configMap.optional)
    return keyFault(objects, given, 'ConfigMap', configMap.name ?? '', keys);
  if (secret && !secret.optional) return keyFault(objects, given, 'Secret', secret.secretName ?? '', keys);
  if (persistentVolumeClaim)
    return keyFault(objects, given, 'PersistentVolumeClaim', persistentVolumeClaim.claimName, []);
  return Object.keys(volume).length === 2 ? undefined : 'has no source, or several';
}

function keyFault(
  objects: readonly Manifest[],
  given: ReadonlySet<string>,
  kind: string,
  name: string,
  keys: readonly string[],
): string | undefined {
  if (given.has(`${kind} ${name}`)) return undefined;
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) return `there is no ${kind} ${name}`;
  const missing = keys.find((key) => found.data?.[key] === undefined);
  return missing === undefined ? undefined : `${kind} ${name} has no key ${missing}`;
}

function accountFault(at: string, name: string | undefined, objects: readonly Manifest[]): string[] {
  const made = objects.filter(({ kind }) => kind === 'ServiceAccount').map(({ metadata }) => metadata.name);
  return made.length === 0 || made.includes(name ?? 'default')
    ? []
    : [`${at}: there is no ServiceAccount ${name}`];
}

const matches = (selector: Labels, labels: Labels) =>
  Object.entries(selector).every(([key, value]) => labels[key] === value);

/** Where a kind names pods by labels. */
function selectorOf({ kind, spec }: Manifest): Labels | undefined {
  const of = (spec ?? {}) as Record<string, Labels | { matchLabels?: Labels } | undefined>;
  switch (kind) {
    case 'Service':
      return of['selector'] as Labels;
    case 'NetworkPolicy':
      return (of['podSelector'] as { matchLabels?: Labels }).matchLabels;
    case 'Deployment':
    case 'StatefulSet':
    case 'PodDisruptionBudget':
    case 'PodMonitor':
      return (of['selector'] as { matchLabels?: Labels }).matchLabels;
    default:
      return undefined;
  }
}

/** A selector chooses pods, those of its own workload among them, and of one component alone. */
function selectorFaults(object: Manifest, objects: readonly Manifest[]): string[] {
  const at = `${object.kind} ${object.metadata.name}`;
  const selector = selectorOf(object);
  if (object.kind === 'ServiceMonitor') return monitorFaults(object, objects);
  if (selector === undefined) return [];
  const pods = podsOf(objects).filter(({ labels }) => matches(selector, labels));
  const components = new Set(pods.map(({ labels }) => labels['app.kubernetes.io/component']));
  const isWorkload = object.kind === 'Deployment' || object.kind === 'StatefulSet';
  return [
    ...(pods.length === 0 ? [`${at}: selects no pod`] : []),
    ...(components.size > 1 ? [`${at}: selects pods of ${[...components].join(', ')}`] : []),
    ...(isWorkload && (pods.length !== 1 || pods[0]?.owner !== object)
      ? [`${at}: selects other pods than its own`]
      : []),
    ...(object.kind === 'Service' ? servicePortFaults(at, object, pods) : []),
  ];
}

interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: string | number;
}

function servicePortFaults(at: string, { spec }: Manifest, pods: readonly Pod[]): string[] {
  const ports = (spec?.['ports'] ?? []) as readonly ServicePort[];
  const missing = ports.flatMap(({ targetPort = '' }) =>
    pods.every(({ spec: { containers } }) =>
      containers.some((container) => container.ports?.some(({ name }) => name === targetPort)),
    )
      ? []
      : [`${at}: pods have no port ${targetPort}`],
  );
  return ports.length > 1 && ports.some(({ name }) => !name)
    ? [...missing, `${at}: ports need names`]
    : missing;
}

function monitorFaults(monitor: Manifest, objects: readonly Manifest[]): string[] {
  const at = `${monitor.kind} ${monitor.metadata.name}`;
  const { selector, endpoints } = monitor.spec as unknown as {
    selector: { matchLabels: Labels };
    endpoints: readonly { port: string }[];
  };
  const services = objects.filter(
    ({ kind, metadata }) => kind === 'Service' && matches(selector.matchLabels, metadata.labels ?? {}),
  );
  const names = services.flatMap(({ spec }) =>
    (spec?.['ports'] as readonly ServicePort[]).map(({ name }) => name),
  );
  return [
    ...(services.length === 1 ? [] : [`${at}: selects ${services.length} Services`]),
    ...endpoints
      .filter(({ port }) => !names.includes(port))
      .map(({ port }) => `${at}: there is no port ${port}`),
  ];
}

interface ScaleTarget {
  readonly kind: string;
  readonly name: string;
}

/** Autoscalers scale a workload that leaves its replicas to them; routes lead to a Service; a StatefulSet has its own. */
function targetFaults({ kind, metadata, spec = {} }: Manifest, objects: readonly Manifest[]): string[] {
  const at = `${kind} ${metadata.name}`;
  const find = (of: string, name: string) =>
    objects.find((object) => object.kind === of && object.metadata.name === name);
  if (kind === 'StatefulSet')
    return find('Service', String(spec['serviceName']))
      ? []
      : [`${at}: there is no Service ${String(spec['serviceName'])}`];
  if (kind !== 'HorizontalPodAutoscaler' && kind !== 'ScaledObject') return [];
  const target = spec['scaleTargetRef'] as ScaleTarget;
  const scaled = find(target.kind, target.name);
  if (scaled === undefined) return [`${at}: there is no ${target.kind} ${target.name}`];
  return scaled.spec?.['replicas'] === undefined ? [] : [`${at}: ${target.name} sets its replicas itself`];
}
