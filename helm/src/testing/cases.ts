import type { ChartValues } from '../values/index.js';

const bundled = { name: 'emoji-vlm', source: { bundled: true } };
const auth = { existingSecret: 'keys' };

/** The least that an installation needs. */
export const MINIMAL = { models: [bundled], auth } satisfies ChartValues;

const TENANTS = JSON.stringify({ tenants: [{ name: 'search', keySha256: ['a'.repeat(64)] }] });

/** What of the user's own the cases name. */
export const GIVEN = {
  secrets: {
    'keys/api-keys': 'first-key,second-key',
    'keys/admin-keys': 'admin-key-1',
    'keys/tenants.json': TENANTS,
    'store/url': 'rediss-sentinel://user@s1:26379,s2/primary',
    'store/password': 'secret',
    'store/sentinel-password': 'secret',
    'store/ca.crt': '-----BEGIN CERTIFICATE-----',
    'store/tls.crt': '-----BEGIN CERTIFICATE-----',
    'store/tls.key': '-----BEGIN PRIVATE KEY-----',
  },
  others: ['PersistentVolumeClaim models'],
};

const store = (external: object): ChartValues => ({
  ...MINIMAL,
  redis: { bundled: { enabled: false }, external },
});

const tls = { existingSecret: 'store', caKey: 'ca.crt', certKey: 'tls.crt', keyKey: 'tls.key' };

const claim = { persistentVolumeClaim: { claimName: 'models', subPath: 'vision/large' } };
const gpuClass = {
  name: 'h100',
  replicas: 4,
  gpu: { count: 2 },
  hugePages: { size: '2Mi' as const, amount: '8Gi' },
  runtimeClassName: 'nvidia',
  nodeSelector: { 'nvidia.com/gpu.product': 'NVIDIA-H100' },
  tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
  resources: { requests: { cpu: '8', memory: '64Gi' }, limits: { cpu: '8', memory: '64Gi' } },
  config: { poolMib: 32_768, maxRunning: 256, guaranteedShare: 0.25 },
};

const keda = { kind: 'keda' as const, minReplicas: 2, maxReplicas: 40 };

const EVERYTHING: ChartValues = {
  models: [
    {
      ...bundled,
      servedName: 'Emoji/VLM "demo"',
      aliases: ['gpt-4o-mini'],
      default: true,
      previousSource: { image: { reference: 'registry.example.org/models/emoji:1', subPath: 'emoji' } },
    },
    { name: 'large', source: claim, classes: [gpuClass, { name: 'cpu', autoscaling: { kind: 'none' } }] },
  ],
  auth: { existingSecret: 'keys', adminApiKeysKey: 'admin-keys', tenantsKey: 'tenants.json' },
  router: {
    replicas: 3,
    config: {
      queueSize: 1_000,
      placementWeights: ['picture=3', 'load=0.5'],
      corsOrigins: ['*'],
      maxBodyMib: 128,
    },
    service: { type: 'LoadBalancer', port: 8_080, annotations: { 'example.org/lb': 'internal' } },
    autoscaling: { kind: 'hpa', queueSeconds: 2.5 },
    podDisruptionBudget: { minAvailable: '50%' },
    priorityClassName: 'serving',
    podLabels: { tier: 'front' },
    extraEnv: [{ name: 'HTTPS_PROXY', value: 'http://proxy:3128' }],
    extraVolumes: [{ name: 'ca', configMap: { name: 'ca', optional: true } }],
    extraVolumeMounts: [{ name: 'ca', mountPath: '/etc/ca', readOnly: true }],
  },
  worker: {
    autoscaling: { ...keda, cpuUtilization: 90, paused: true },
    topologySpread: { topologyKeys: ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'] },
    preStopSeconds: 3,
  },
  redis: { bundled: { existingSecret: 'store', persistence: { enabled: true, storageClassName: 'fast' } } },
  gateway: {
    enabled: true,
    parentRefs: [{ name: 'public' }],
    hostnames: ['models.example.org'],
    paths: ['/'],
  },
  ingress: {
    enabled: true,
    className: 'nginx',
    hostnames: ['models.example.org'],
    tls: [{ secretName: 'tls' }],
  },
  networkPolicy: {
    restrictEgress: true,
    clients: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'edge' } } }],
    monitoring: [{ namespaceSelector: {} }],
    egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 443, protocol: 'TCP' }] }],
  },
  metrics: {
    scrape: 'podMonitor',
    labels: { release: 'prometheus' },
    relabelings: [{ targetLabel: 'cluster', replacement: 'one' }],
    rules: { enabled: true, labels: { team: 'vision' } },
    dashboards: { enabled: true },
    prometheusUrl: 'http://prometheus-operated.monitoring:9090',
  },
  image: { registry: 'registry.example.org', pullPolicy: 'Always', pullSecrets: ['pull'] },
  serviceAccount: { annotations: { 'example.org/role': 'reader' } },
  commonLabels: { 'example.org/team': 'vision' },
  commonAnnotations: { 'example.org/note': 'kept' },
  extraObjects: [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: '{{ .Release.Name }}-extra' },
      data: { a: '1' },
    },
  ],
};

const off = { enabled: false };

const NOTHING_MORE: ChartValues = {
  ...store({ url: 'redis://store' }),
  auth: { enabled: false },
  router: { podDisruptionBudget: off, topologySpread: off, preStopSeconds: 0 },
  worker: { podDisruptionBudget: off, topologySpread: off },
  networkPolicy: off,
  metrics: { scrape: 'none' },
  serviceAccount: { create: false },
  tests: off,
};

/** Installations that are rendered and checked, by what they show. */
export const CASES: Readonly<Record<string, ChartValues>> = {
  minimal: MINIMAL,
  'everything on': EVERYTHING,
  'everything off': NOTHING_MORE,
  'no keys': { ...MINIMAL, auth: { enabled: false } },
  'keys in the values': { ...MINIMAL, auth: { apiKeys: ['first-key', 'second-key'] } },
  'tenants alone': {
    ...MINIMAL,
    auth: { existingSecret: 'keys', apiKeysKey: '', tenantsKey: 'tenants.json' },
  },
  'Redis with a password': { ...MINIMAL, redis: { bundled: { existingSecret: 'store' } } },
  'Redis with an append-only file': {
    ...MINIMAL,
    redis: { bundled: { persistence: { enabled: true, fsync: 'always' } } },
  },
  'external Redis': store({ url: 'redis://store:6380/2' }),
  'external Redis, a user of its own': store({
    url: 'redis://kvcapsule@store',
    existingSecret: 'store',
    passwordKey: 'password',
  }),
  'external Redis over TLS': store({ url: 'rediss://store:6380', serverName: 'store.example.org', ...tls }),
  'external Sentinels': store({
    url: 'redis-sentinel://s1:26379,s2:26379,s3/primary',
    sentinelUsername: 'watch',
    existingSecret: 'store',
    passwordKey: 'password',
    sentinelPasswordKey: 'sentinel-password',
  }),
  'external Cluster': store({ url: 'redis-cluster://c1:7000,c2:7000,c3:7000' }),
  'external Cluster over TLS': store({
    url: 'rediss-cluster://c1,c2',
    existingSecret: 'store',
    caKey: 'ca.crt',
  }),
  'external Redis by a URL in a Secret': store({
    existingSecret: 'store',
    urlKey: 'url',
    passwordKey: 'password',
  }),
  GPU: { ...MINIMAL, models: [{ ...bundled, classes: [gpuClass] }] },
  'two models': { ...MINIMAL, models: [bundled, { name: 'large', source: claim, aliases: ['big'] }] },
  'two revisions of a model': {
    ...MINIMAL,
    models: [
      {
        name: 'large',
        source: { image: { reference: 'registry.example.org/large:2' } },
        previousSource: { image: { reference: 'registry.example.org/large:1' } },
      },
    ],
  },
  'two classes of hardware': { ...MINIMAL, models: [{ ...bundled, classes: [gpuClass, { name: 'cpu' }] }] },
  'model from a claim': { ...MINIMAL, models: [{ name: 'large', source: claim }] },
  'model from an image volume': {
    ...MINIMAL,
    models: [
      {
        name: 'large',
        source: { image: { reference: 'registry.example.org/large:2', pullPolicy: 'Always' } },
      },
    ],
  },
  'model by download': {
    ...MINIMAL,
    models: [
      {
        name: 'large',
        source: {
          download: {
            image: 'registry.example.org/hf:1',
            command: ['hf', 'download', 'org/model', '--local-dir', '$(MODEL_DIR)'],
            routerArgs: ['--exclude', '*.safetensors'],
            secretName: 'keys',
            size: '20Gi',
          },
        },
      },
    ],
  },
  KEDA: {
    ...MINIMAL,
    worker: { autoscaling: keda },
    router: {
      autoscaling: {
        ...keda,
        triggers: [
          {
            type: 'cron',
            metadata: { timezone: 'UTC', start: '0 6 * * *', end: '0 20 * * *', desiredReplicas: '3' },
          },
        ],
      },
    },
    metrics: { prometheusUrl: 'http://prometheus:9090' },
  },
  HPA: {
    ...MINIMAL,
    worker: { autoscaling: { kind: 'hpa', kvPressure: 0.75, cpuUtilization: 80 } },
    router: { autoscaling: { kind: 'hpa' } },
  },
  'service monitors': {
    ...MINIMAL,
    metrics: { scrape: 'serviceMonitor', labels: { release: 'prometheus' } },
  },
  'pod monitors': { ...MINIMAL, metrics: { scrape: 'podMonitor' } },
  'rules and dashboards': {
    ...MINIMAL,
    metrics: { rules: { enabled: true }, dashboards: { enabled: true } },
  },
  gateway: { ...MINIMAL, gateway: { enabled: true, parentRefs: [{ name: 'public', sectionName: 'https' }] } },
  'ingress of nginx': {
    ...MINIMAL,
    ingress: { enabled: true, className: 'nginx', hostnames: ['a.example.org'] },
  },
  'ingress of HAProxy': {
    ...MINIMAL,
    ingress: { enabled: true, controller: 'haproxy', timeoutSeconds: 900 },
  },
  'ingress of AWS': { ...MINIMAL, ingress: { enabled: true, controller: 'alb' } },
  'ingress of others': {
    ...MINIMAL,
    ingress: { enabled: true, controller: 'other', annotations: { a: 'b' } },
  },
  'restricted network': { ...MINIMAL, networkPolicy: { restrictEgress: true } },
  'restricted network, external Redis': {
    ...store({ url: 'redis-sentinel://s1:26400,s2/primary' }),
    networkPolicy: { restrictEgress: true },
  },
  'IPv6 alone': { ...MINIMAL, ipv6: true },
  'long names': {
    ...MINIMAL,
    fullnameOverride: 'a-name-that-is-as-long-as-it-may-be-here',
    models: [
      { ...bundled, name: 'a-model-whose-name-is-very-long', classes: [{ name: 'twenty-letters-long0' }] },
    ],
  },
};
