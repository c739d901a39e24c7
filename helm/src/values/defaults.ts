import type { ChartValues } from './index.js';

const UID = 10_001;

const pod = (user: number) => ({
  podLabels: {},
  podAnnotations: {},
  nodeSelector: {},
  tolerations: [],
  affinity: {},
  priorityClassName: '',
  runtimeClassName: '',
  podSecurityContext: {
    runAsNonRoot: true,
    runAsUser: user,
    runAsGroup: user,
    fsGroup: user,
    fsGroupChangePolicy: 'OnRootMismatch',
    seccompProfile: { type: 'RuntimeDefault' },
  },
  containerSecurityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  },
});

const spread = (topologyKeys: string[]) => ({
  enabled: true,
  topologyKeys,
  whenUnsatisfiable: 'ScheduleAnyway' as const,
  maxSkew: 1,
});

const container = { extraEnv: [], extraVolumes: [], extraVolumeMounts: [] };

const scaling = {
  kind: 'none' as const,
  minReplicas: 1,
  maxReplicas: 8,
  metrics: [],
  triggers: [],
  pollingSeconds: 15,
  cooldownSeconds: 300,
  paused: false,
};

const probe = (periodSeconds: number, failureThreshold: number) => ({
  periodSeconds,
  timeoutSeconds: 5,
  failureThreshold,
});

const workloads: Pick<ChartValues, 'router' | 'worker'> = {
  router: {
    image: { repository: 'kvcapsule/router', tag: '', digest: '' },
    replicas: 2,
    // as long as an answer may take
    drainSeconds: 600,
    preStopSeconds: 5,
    config: {},
    service: {
      type: 'ClusterIP',
      port: 80,
      annotations: {},
      loadBalancerClass: '',
      externalTrafficPolicy: 'Cluster',
    },
    autoscaling: {
      ...scaling,
      minReplicas: 2,
      cpuUtilization: 70,
      queueSeconds: 0,
      behavior: { scaleDown: { stabilizationWindowSeconds: 300 } },
    },
    podDisruptionBudget: { enabled: true, maxUnavailable: 1 },
    probes: { startupSeconds: 120, liveness: probe(10, 6), readiness: probe(5, 2) },
    updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { memory: '2Gi' } },
    topologySpread: spread(['kubernetes.io/hostname']),
    ...pod(UID),
    ...container,
    tmpSize: '1Gi',
  },
  worker: {
    image: { repository: 'kvcapsule/worker', tag: '', digest: '' },
    replicas: 1,
    drainSeconds: 30,
    preStopSeconds: 0,
    config: {},
    gpu: { count: 0, resource: 'nvidia.com/gpu' },
    hugePages: { size: '', amount: '1Gi' },
    autoscaling: {
      ...scaling,
      cpuUtilization: 0,
      queueSeconds: 5,
      kvPressure: 0.8,
      behavior: { scaleDown: { stabilizationWindowSeconds: 600 } },
    },
    podDisruptionBudget: { enabled: true, maxUnavailable: 1 },
    // half an hour for models of many gigabytes on a slow disk
    probes: { startupSeconds: 1_800, liveness: probe(10, 6), readiness: probe(5, 2) },
    updateStrategy: { type: 'RollingUpdate' },
    resources: { requests: { cpu: '2', memory: '4Gi' }, limits: { memory: '4Gi' } },
    topologySpread: spread(['kubernetes.io/hostname']),
    ...pod(UID),
    ...container,
    tmpSize: '1Gi',
  },
};

const redis: ChartValues['redis'] = {
  bundled: {
    enabled: true,
    image: { repository: 'docker.io/library/redis', tag: '7.4-bookworm', digest: '' },
    existingSecret: '',
    passwordKey: 'password',
    maxMemory: '256mb',
    persistence: { enabled: false, fsync: 'everysec', size: '1Gi', storageClassName: '' },
    resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '512Mi' } },
    topologySpread: { ...spread([]), enabled: false },
    // of the image's own user
    ...pod(999),
  },
  external: {
    url: '',
    serverName: '',
    sentinelUsername: '',
    existingSecret: '',
    urlKey: '',
    passwordKey: '',
    sentinelPasswordKey: '',
    caKey: '',
    certKey: '',
    keyKey: '',
  },
};

/** What holds where a user's values say nothing. */
export const defaults = {
  models: [],
  auth: {
    enabled: true,
    existingSecret: '',
    apiKeysKey: 'api-keys',
    adminApiKeysKey: '',
    tenantsKey: '',
    apiKeys: [],
  },
  ...workloads,
  redis,
  gateway: {
    enabled: false,
    parentRefs: [],
    hostnames: [],
    paths: ['/v1'],
    annotations: {},
    filters: [],
    timeoutSeconds: 0,
  },
  ingress: {
    enabled: false,
    controller: 'nginx',
    className: '',
    annotations: {},
    hostnames: [],
    paths: ['/v1'],
    tls: [],
    timeoutSeconds: 0,
  },
  networkPolicy: { enabled: true, clients: [], monitoring: [], restrictEgress: false, egress: [] },
  metrics: {
    scrape: 'annotations',
    intervalSeconds: 15,
    labels: {},
    relabelings: [],
    rules: { enabled: false, labels: {} },
    dashboards: { enabled: false, label: 'grafana_dashboard', folder: 'KVCapsule' },
    prometheusUrl: '',
  },
  image: { registry: '', pullPolicy: 'IfNotPresent', pullSecrets: [] },
  serviceAccount: { create: true, name: '', annotations: {} },
  tests: {
    enabled: true,
    completion: true,
    resources: { requests: { cpu: '50m', memory: '64Mi' }, limits: { memory: '256Mi' } },
  },
  ipv6: false,
  nameOverride: '',
  fullnameOverride: '',
  commonLabels: {},
  commonAnnotations: {},
  extraObjects: [],
} satisfies ChartValues;
