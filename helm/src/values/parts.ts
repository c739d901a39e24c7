import { z } from 'zod';

/** An object of Kubernetes' own, which the API server checks; `examples` are what tests fill in. */
export const kubernetesObject = (description: string, ...examples: readonly object[]) =>
  z.record(z.string(), z.unknown()).meta({ description, examples: [...examples] });

/** A list of such objects. */
export const kubernetesObjects = (description: string, ...examples: readonly object[]) =>
  z.array(z.record(z.string(), z.unknown()).meta({ examples: [...examples] })).meta({ description });

const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
/** Keys with and without the domain before the slash. */
const LABEL_KEY =
  /^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

export const labels = (description: string) =>
  z
    .record(z.string().regex(LABEL_KEY), z.string().regex(LABEL_VALUE))
    .meta({ description, examples: [{ 'example.org/team': 'vision' }] });

export const annotations = (description: string) =>
  z
    .record(z.string().regex(LABEL_KEY), z.string())
    .meta({ description, examples: [{ 'example.org/note': 'kept' }] });

/** A label of DNS, as names of most objects are. */
export const dnsLabel = (most = 63) =>
  z
    .string()
    .max(most)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);

/** Empty, or the name of an object that is there. */
export const objectName = (description: string) =>
  z
    .string()
    .max(253)
    .regex(/^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$/)
    .meta({ description });

/** Of a ConfigMap or Secret. */
export const objectKey = (description: string) =>
  z
    .string()
    .max(253)
    .regex(/^[A-Za-z0-9._-]*$/)
    .meta({ description });

export const flag = (description: string) => z.boolean().meta({ description });

export const count = (description: string, least = 0, most = 10_000) =>
  z.int().min(least).max(most).meta({ description });

export const seconds = (description: string, least = 0, most = 86_400) =>
  z.int().min(least).max(most).meta({ description });

export const port = (description: string) => z.int().min(1).max(65_535).meta({ description });

/** What Kubernetes calls a quantity: `500m`, `4Gi`. */
export const quantity = (description: string) =>
  z
    .string()
    .regex(/^[1-9][0-9]{0,8}(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/)
    .meta({ description });

/** A number, or a share of the replicas. */
const replicasOrShare = (description: string) =>
  z.union([z.int().min(0).max(10_000), z.string().regex(/^(100|[1-9]?[0-9])%$/)]).meta({ description });

/** Every field is optional: `values.yaml` says what holds where nothing is given. */
export const section = <S extends z.core.$ZodLooseShape>(description: string, shape: S) =>
  z.strictObject(shape).partial().meta({ description });

export const image = (part: string) =>
  section(`Image of ${part}`, {
    repository: z
      .string()
      .regex(/^[a-z0-9]+([._/:-]+[a-z0-9]+)*$/)
      .meta({ description: 'Repository, behind `image.registry` where that is set' }),
    tag: z
      .string()
      .regex(/^([\w][\w.-]{0,127})?$/)
      .meta({ description: 'Tag; the chart’s `appVersion` when empty' }),
    digest: z
      .string()
      .regex(/^(sha256:[0-9a-f]{64})?$/)
      .meta({ description: 'Digest, which wins over the tag' }),
  });

export const disruptionBudget = section(
  'PodDisruptionBudget: how many pods a drain of nodes may take at one time',
  {
    enabled: flag('Makes the budget'),
    minAvailable: replicasOrShare('Least pods that stay; `maxUnavailable` is left out where this is set'),
    maxUnavailable: replicasOrShare('Most pods that are away'),
  },
);

const probe = (what: string) =>
  section(what, {
    periodSeconds: seconds('Time between two probes', 1, 3_600),
    timeoutSeconds: seconds('Time that an answer may take', 1, 600),
    failureThreshold: count('Failures in a row until it counts as failed', 1, 1_000),
  });

export const probes = section('Probes. What they ask is fixed: each part answers for its own state', {
  startupSeconds: seconds(
    'Longest time from a container’s start to its first answer: the load of the model, for a worker',
    10,
  ),
  liveness: probe('The process is sound; it is started again otherwise'),
  readiness: probe('Requests are sent there'),
});

/** Of the pods of router, workers and the bundled Redis alike. */
export const podFields = {
  podLabels: labels('Labels of the pods'),
  podAnnotations: annotations('Annotations of the pods'),
  nodeSelector: labels('Labels that a node must have'),
  tolerations: kubernetesObjects('Taints of nodes that are put up with', {
    key: 'nvidia.com/gpu',
    operator: 'Exists',
    effect: 'NoSchedule',
  }),
  affinity: kubernetesObject('Affinity of the pods', {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [
          { matchExpressions: [{ key: 'kubernetes.io/arch', operator: 'In', values: ['amd64'] }] },
        ],
      },
    },
  }),
  topologySpread: section('How pods are spread', {
    enabled: flag('Spreads them'),
    topologyKeys: z
      .array(z.string().regex(LABEL_KEY))
      .max(4)
      .meta({ description: 'Labels of nodes over whose values pods are spread evenly' }),
    whenUnsatisfiable: z
      .enum(['ScheduleAnyway', 'DoNotSchedule'])
      .meta({ description: 'What happens where they cannot be' }),
    maxSkew: count('Most pods that one value may have more than another', 1, 100),
  }),
  priorityClassName: objectName('PriorityClass of the pods'),
  runtimeClassName: objectName('RuntimeClass of the pods, such as `nvidia`'),
  podSecurityContext: kubernetesObject(
    'Security context of the pods; the default satisfies the pod security standard `restricted`',
    { runAsNonRoot: true, runAsUser: 10_001, seccompProfile: { type: 'RuntimeDefault' } },
  ),
  containerSecurityContext: kubernetesObject('Security context of the containers', {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
  }),
  resources: kubernetesObject(
    'CPU, memory and other resources of the container; requests are those of the limits where only these are given',
    { requests: { cpu: '2', memory: '4Gi' }, limits: { cpu: '4', memory: '4Gi' } },
  ),
} as const;

/** Of the containers of router and workers. */
export const containerFields = {
  extraEnv: kubernetesObjects('Environment variables of Kubernetes’ form, beside those of `config`', {
    name: 'NODE_EXTRA_CA_CERTS',
    value: '/etc/ca/ca.crt',
  }),
  extraVolumes: kubernetesObjects('Volumes', { name: 'ca', configMap: { name: 'ca', optional: true } }),
  extraVolumeMounts: kubernetesObjects('Mounts of them'),
  tmpSize: quantity('Bound of `/tmp`, the only place a container writes to'),
} as const;
