import type { Manifest } from '../helm.js';

/** What the rules read of containers, probes and volumes; the schemas have checked their types. */
export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly secretKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
    readonly configMapKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
    readonly fieldRef?: { readonly fieldPath: string };
    readonly resourceFieldRef?: { readonly resource: string };
  };
}

export interface Probe {
  readonly httpGet?: { readonly port: number | string; readonly path?: string };
  readonly tcpSocket?: { readonly port: number | string };
  readonly grpc?: { readonly port: number; readonly service?: string };
  readonly exec?: { readonly command: readonly string[] };
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
  readonly successThreshold?: number;
  readonly initialDelaySeconds?: number;
}

type Quantities = Readonly<Record<string, string | number>>;

export interface SecurityContext {
  readonly runAsNonRoot?: boolean;
  readonly runAsUser?: number;
  readonly privileged?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly readOnlyRootFilesystem?: boolean;
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  readonly seccompProfile?: { readonly type: string };
}

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly envFrom?: readonly object[];
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort: number;
    readonly protocol?: string;
  }[];
  readonly resources?: { readonly requests?: Quantities; readonly limits?: Quantities };
  readonly volumeMounts?: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
  }[];
  readonly securityContext?: SecurityContext;
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
}

interface KeyedSource {
  readonly name?: string;
  readonly secretName?: string;
  readonly optional?: boolean;
  readonly items?: readonly { readonly key: string; readonly path: string }[];
}

export type Volume = {
  readonly name: string;
  readonly configMap?: KeyedSource;
  readonly secret?: KeyedSource;
  readonly persistentVolumeClaim?: { readonly claimName: string };
} & Readonly<Record<string, unknown>>;

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly securityContext?: SecurityContext;
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly enableServiceLinks?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly hostNetwork?: boolean;
  readonly hostPID?: boolean;
  readonly hostIPC?: boolean;
}

/** A pod that an object is, or makes. */
export interface Pod {
  readonly at: string;
  readonly owner: Manifest;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: PodSpec;
}

interface Template {
  readonly metadata?: Manifest['metadata'];
  readonly spec: PodSpec;
}

export function podsOf(objects: readonly Manifest[]): Pod[] {
  return objects.flatMap((owner) => {
    const template = templateOf(owner);
    if (template === undefined) return [];
    const { labels = {}, annotations = {} } = template.metadata ?? {};
    return [{ at: `${owner.kind} ${owner.metadata.name}`, owner, labels, annotations, spec: template.spec }];
  });
}

function templateOf(owner: Manifest): Template | undefined {
  if (owner.kind === 'Pod') return { metadata: owner.metadata, spec: owner.spec as unknown as PodSpec };
  return owner.spec?.['template'] as Template | undefined;
}

export const allContainers = ({ spec }: Pod): readonly Container[] => [
  ...(spec.initContainers ?? []),
  ...spec.containers,
];

/** Every container of every pod, with where it is. */
export const containersOf = (objects: readonly Manifest[]) =>
  podsOf(objects).flatMap((pod) =>
    allContainers(pod).map((container) => ({ pod, container, at: `${pod.at}, container ${container.name}` })),
  );

/** Entries that stand more than once. */
export function doubles<T>(entries: readonly T[]): T[] {
  return [...new Set(entries.filter((entry, index) => entries.indexOf(entry) !== index))];
}
