import { describe, expect, it } from 'vitest';
import { type Manifest, render } from './manifests/index.js';
import { type Container, podsOf } from './manifests/rules/pods.js';
import { CASES, MINIMAL } from './testing/cases.js';
import type { ChartValues } from './values/index.js';

const ids = (objects: readonly Manifest[]) =>
  objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort();
const NAME = 'vision-kvcapsule';

/** Objects that `change` adds to the smallest installation, and those that it takes away. */
async function difference(change: ChartValues): Promise<{ added: string[]; gone: string[] }> {
  const [before, after] = await Promise.all([render(MINIMAL), render({ ...MINIMAL, ...change })]).then(
    (both) => both.map(ids),
  );
  return {
    added: (after ?? []).filter((id) => !before?.includes(id)),
    gone: (before ?? []).filter((id) => !after?.includes(id)),
  };
}

describe('what is switched', () => {
  it('renders a router, a worker and Redis by default, and no more than they need', async () => {
    expect(ids(await render(MINIMAL))).toEqual([
      `ConfigMap ${NAME}-models`,
      `ConfigMap ${NAME}-redis`,
      `ConfigMap ${NAME}-test`,
      `Deployment ${NAME}-redis`,
      `Deployment ${NAME}-router`,
      `NetworkPolicy ${NAME}-redis`,
      `NetworkPolicy ${NAME}-router`,
      `NetworkPolicy ${NAME}-worker`,
      `Pod ${NAME}-test`,
      `PodDisruptionBudget ${NAME}-router`,
      `PodDisruptionBudget ${NAME}-worker-emoji-vlm-default`,
      `Service ${NAME}-redis`,
      `Service ${NAME}-router`,
      `Service ${NAME}-worker`,
      `ServiceAccount ${NAME}`,
      `StatefulSet ${NAME}-worker-emoji-vlm-default`,
    ]);
  });

  it('renders nothing of what is disabled', async () => {
    expect(ids(await render(CASES['everything off'] ?? {}))).toEqual([
      `ConfigMap ${NAME}-models`,
      `Deployment ${NAME}-router`,
      `Service ${NAME}-router`,
      `Service ${NAME}-worker`,
      `StatefulSet ${NAME}-worker-emoji-vlm-default`,
    ]);
  });

  const worker = `${NAME}-worker-emoji-vlm-default`;
  const switches: [string, ChartValues, string[], string[]][] = [
    ['the gateway', CASES['gateway'] ?? {}, [`HTTPRoute ${NAME}`], []],
    ['the ingress', { ingress: { enabled: true } }, [`Ingress ${NAME}`], []],
    [
      'service monitors',
      { metrics: { scrape: 'serviceMonitor' } },
      [`ServiceMonitor ${NAME}-router`, `ServiceMonitor ${NAME}-worker`],
      [],
    ],
    [
      'pod monitors',
      { metrics: { scrape: 'podMonitor' } },
      [`PodMonitor ${NAME}-router`, `PodMonitor ${NAME}-worker`],
      [],
    ],
    ['alerts', { metrics: { rules: { enabled: true } } }, [`PrometheusRule ${NAME}`], []],
    ['scaling by KEDA', CASES['KEDA'] ?? {}, [`ScaledObject ${NAME}-router`, `ScaledObject ${worker}`], []],
    [
      'scaling by HPA',
      CASES['HPA'] ?? {},
      [`HorizontalPodAutoscaler ${NAME}-router`, `HorizontalPodAutoscaler ${worker}`],
      [],
    ],
    [
      'an append-only file',
      { redis: { bundled: { persistence: { enabled: true } } } },
      [`PersistentVolumeClaim ${NAME}-redis`],
      [],
    ],
    ['keys in the values', { auth: { apiKeys: ['first-key'] } }, [`Secret ${NAME}-api-keys`], []],
    ['no tests', { tests: { enabled: false } }, [], [`ConfigMap ${NAME}-test`, `Pod ${NAME}-test`]],
    ['no account', { serviceAccount: { create: false } }, [], [`ServiceAccount ${NAME}`]],
    [
      'no policies',
      { networkPolicy: { enabled: false } },
      [],
      ['redis', 'router', 'worker'].map((part) => `NetworkPolicy ${NAME}-${part}`),
    ],
    [
      'no budget of the router',
      { router: { podDisruptionBudget: { enabled: false } } },
      [],
      [`PodDisruptionBudget ${NAME}-router`],
    ],
    [
      'no budgets of workers',
      { worker: { podDisruptionBudget: { enabled: false } } },
      [],
      [`PodDisruptionBudget ${worker}`],
    ],
    [
      'an external Redis',
      CASES['external Redis'] ?? {},
      [],
      ['ConfigMap', 'Deployment', 'NetworkPolicy', 'Service'].map((kind) => `${kind} ${NAME}-redis`),
    ],
  ];

  it.each(switches)('%s', async (_what, change, added, gone) => {
    expect(await difference(change)).toEqual({ added, gone });
  });

  it('dashboards, a ConfigMap each, under the label that the sidecar looks for', async () => {
    const objects = await render({ ...MINIMAL, metrics: { dashboards: { enabled: true } } });
    const boards = objects.filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1');
    expect(boards.length).toBeGreaterThan(0);
    for (const { data = {}, metadata } of boards) {
      expect(metadata.annotations?.['grafana_folder']).toBe('KVCapsule');
      expect(
        Object.values(data).map((text) => typeof (JSON.parse(text) as { title: unknown }).title),
      ).toEqual(['string']);
    }
  });
});

const containerOf = (objects: readonly Manifest[], name: string): Container => {
  const found = podsOf(objects)
    .flatMap(({ spec }) => spec.containers)
    .find((container) => container.name === name);
  if (found === undefined) throw new Error(`no container ${name}`);
  return found;
};

const variable = (container: Container, name: string) =>
  container.env?.find((entry) => entry.name === name)?.value;

describe('a pod that is asked to end', () => {
  it.each([
    ['router', 'Deployment', 'KVCAPSULE_DRAIN_MS'],
    ['worker', 'StatefulSet', 'KVCAPSULE_DRAIN_TIMEOUT_MS'],
  ] as const)('of a %s has the time that its drain needs', async (part, kind, setting) => {
    for (const [drainSeconds, preStopSeconds] of [
      [600, 5],
      [45, 0],
      [0, 30],
    ] as const) {
      const objects = await render({ ...MINIMAL, [part]: { drainSeconds, preStopSeconds } });
      const pod = podsOf(objects).find(
        ({ owner, labels }) => owner.kind === kind && labels['app.kubernetes.io/component'] === part,
      );
      const container = containerOf(objects, part);
      const drainMs = Number(variable(container, setting));
      expect(Math.round(drainMs / 1_000)).toBe(drainSeconds);
      expect(container.lifecycle?.preStop?.sleep?.seconds ?? 0).toBe(preStopSeconds);
      expect(pod?.spec.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
        preStopSeconds + Math.floor(drainMs / 1_000) + 10,
      );
    }
  });
});

describe('what routers and workers are told', () => {
  it('has numbers, lists and switches as the parts read them', async () => {
    const objects = await render({
      ...MINIMAL,
      router: { config: { queueMib: 1_234_567, corsOrigins: ['https://a.example', 'https://b.example'] } },
      worker: { config: { guaranteedShare: 0.25, poolMib: 100_000_000, maxImagePixels: 2 ** 40 } },
    });
    const [router, worker] = [containerOf(objects, 'router'), containerOf(objects, 'worker')];
    expect(variable(router, 'KVCAPSULE_QUEUE_MIB')).toBe('1234567');
    expect(variable(router, 'KVCAPSULE_CORS_ORIGINS')).toBe('https://a.example,https://b.example');
    expect(variable(worker, 'KVCAPSULE_GUARANTEED_SHARE')).toBe('0.25');
    expect(variable(worker, 'KVCAPSULE_POOL_MIB')).toBe('100000000');
    expect(variable(worker, 'KVCAPSULE_MAX_IMAGE_PIXELS')).toBe(String(2 ** 40));
  });

  it('lets a class of hardware differ from the other workers, with what is 0, false or empty, too', async () => {
    const objects = await render({
      ...MINIMAL,
      models: [
        {
          ...MINIMAL.models[0],
          classes: [
            { name: 'a' },
            { name: 'b', replicas: 0, topologySpread: { enabled: false }, config: { swapMib: 0 } },
          ],
        },
      ],
      worker: { replicas: 3, config: { swapMib: 64, maxRunning: 8 } },
    });
    const sets = objects.filter(({ kind }) => kind === 'StatefulSet');
    expect(sets.map(({ spec }) => spec?.['replicas'])).toEqual([3, 0]);
    const [a, b] = sets.map((set) => containerOf([set], 'worker'));
    expect([a, b].map((container) => container && variable(container, 'KVCAPSULE_SWAP_MIB'))).toEqual([
      '64',
      '0',
    ]);
    expect([a, b].map((container) => container && variable(container, 'KVCAPSULE_MAX_RUNNING'))).toEqual([
      '8',
      '8',
    ]);
    expect(podsOf(sets).map(({ spec }) => 'topologySpreadConstraints' in spec)).toEqual([true, false]);
  });

  it('takes the threads from a limit of CPU, unless they are set', async () => {
    const of = async (config: object) => {
      const worker = { resources: { limits: { cpu: '3500m' } }, config };
      return containerOf(await render({ ...MINIMAL, worker }), 'worker').env?.filter(
        ({ name }) => name === 'KVCAPSULE_THREADS',
      );
    };
    expect(await of({})).toEqual([
      { name: 'KVCAPSULE_THREADS', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
    ]);
    expect(await of({ threads: 2 })).toEqual([{ name: 'KVCAPSULE_THREADS', value: '2' }]);
  });

  it.each([
    [false, '$(POD_IP):8000', '$(POD_IP):7001'],
    [true, '[$(POD_IP)]:8000', '[$(POD_IP)]:7001'],
  ])(
    'tells others addresses of pods (IPv6: %s), and serves no model that only the image names',
    async (ipv6, router, worker) => {
      const objects = await render({ ...MINIMAL, ipv6 });
      expect(variable(containerOf(objects, 'router'), 'KVCAPSULE_ADVERTISE')).toBe(router);
      expect(variable(containerOf(objects, 'worker'), 'KVCAPSULE_ADVERTISE')).toBe(worker);
      expect(variable(containerOf(objects, 'router'), 'KVCAPSULE_MODEL')).toBe('');
    },
  );

  it('asks for GPUs and huge pages', async () => {
    const { resources } = containerOf(await render(CASES['GPU'] ?? {}), 'worker');
    expect(resources?.limits).toMatchObject({ 'nvidia.com/gpu': '2', 'hugepages-2Mi': '8Gi', cpu: '8' });
  });
});

it('monitors name models as clients do, whatever letters that has', async () => {
  const models = [
    { ...MINIMAL.models[0], name: 'one', servedName: 'org/one "$1"' },
    { ...MINIMAL.models[0], name: 'two' },
  ];
  const objects = await render({ ...MINIMAL, models, metrics: { scrape: 'podMonitor' } });
  const rulesOf = (part: string) => {
    const monitor = objects.find(
      ({ kind, metadata }) => kind === 'PodMonitor' && metadata.name.endsWith(part),
    );
    const [endpoint] = monitor?.spec?.['podMetricsEndpoints'] as { relabelings: { targetLabel: string }[] }[];
    return endpoint?.relabelings.filter(({ targetLabel }) => targetLabel === 'model');
  };
  const of = { targetLabel: 'model', sourceLabels: ['__meta_kubernetes_pod_label_kvcapsule_io_model'] };
  expect(rulesOf('worker')).toEqual([of, { ...of, regex: 'one', replacement: 'org/one "$$1"' }]);
  expect(rulesOf('router')).toEqual([]);
});

describe('the way in', () => {
  const timeouts = { router: { config: { requestTimeoutMs: 900_000, maxBodyMib: 200 } } };

  it('of the gateway waits as long as an answer may take', async () => {
    const of = async (change: ChartValues) => {
      const objects = await render({ ...CASES['gateway'], ...change });
      const route = objects.find(({ kind }) => kind === 'HTTPRoute');
      return (route?.spec?.['rules'] as { timeouts: object }[])[0]?.timeouts;
    };
    expect(await of({})).toEqual({ request: '630s', backendRequest: '630s' });
    expect(await of(timeouts)).toEqual({ request: '930s', backendRequest: '930s' });
    // a number of a duration of the Gateway API has five digits
    expect(await of({ router: { config: { requestTimeoutMs: 2_000_000_000 } } })).toEqual({
      request: '556h',
      backendRequest: '556h',
    });
  });

  it('of nginx buffers nothing, takes large bodies, and lets the user’s annotations win', async () => {
    const own = { 'nginx.ingress.kubernetes.io/proxy-body-size': '1g' };
    const of = async (annotations: Record<string, string>) => {
      const ingress = { enabled: true, annotations };
      const objects = await render({ ...MINIMAL, ...timeouts, ingress });
      return objects.find(({ kind }) => kind === 'Ingress')?.metadata.annotations;
    };
    expect(await of({})).toMatchObject({
      'nginx.ingress.kubernetes.io/proxy-buffering': 'off',
      'nginx.ingress.kubernetes.io/proxy-read-timeout': '930',
      'nginx.ingress.kubernetes.io/proxy-body-size': '200m',
    });
    expect(await of(own)).toMatchObject(own);
  });
});
