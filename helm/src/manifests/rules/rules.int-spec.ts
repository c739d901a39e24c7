import { beforeAll, describe, expect, it } from 'vitest';
import { CASES, GIVEN } from '../../testing/cases.js';
import { faultsOf, type Manifest, render } from '../index.js';

type Tree = { [key: string]: Tree } & { [index: number]: Tree };

let whole: Manifest[];

beforeAll(async () => {
  const withRules = { metrics: { ...CASES['everything on']?.metrics, scrape: 'serviceMonitor' as const } };
  whole = await render({ ...CASES['everything on'], ...withRules });
});

/** The faults after `break_` has changed the object of a kind whose name ends so. */
async function broken(
  kind: string,
  end: string,
  change: (object: Tree, all: Manifest[]) => void,
): Promise<string[]> {
  const objects = structuredClone(whole);
  const object = objects.find(({ kind: of, metadata }) => of === kind && metadata.name.endsWith(end));
  if (object === undefined) throw new Error(`no ${kind} ends in ${end}`);
  change(object as unknown as Tree, objects);
  return faultsOf(objects, GIVEN);
}

const set = (tree: Tree | undefined, key: string, value: unknown) =>
  Object.assign(tree ?? {}, { [key]: value });
const spec = (object: Tree) => object['spec'] as Tree;
const pod = (object: Tree) => (spec(object)['template'] as Tree)['spec'] as Tree;
const container = (object: Tree) => (pod(object)['containers'] as Tree)[0] as Tree;
const push = (list: Tree | undefined, entry: unknown) => (list as unknown as unknown[]).push(entry);

type Break = [string, string, string, (object: Tree, all: Manifest[]) => void, RegExp];

/** One of each thing that is refused: what, in which object, how it is made, what is said. */
const BREAKS: Break[] = [
  [
    'an unknown field',
    'Deployment',
    '-router',
    (o) => set(container(o), 'imagePullPolcy', 'Always'),
    /imagePullPolcy: unknown field/,
  ],
  [
    'an unknown field of the Gateway API',
    'HTTPRoute',
    '',
    (o) => set(spec(o), 'hostname', 'a'),
    /spec\.hostname: unknown field/,
  ],
  [
    'an unknown field of KEDA',
    'ScaledObject',
    '',
    (o) => set(spec(o), 'minReplicas', 1),
    /spec\.minReplicas: unknown field/,
  ],
  [
    'a wrong type',
    'Service',
    '-router',
    (o) => set((spec(o)['ports'] as Tree)[0], 'port', 'x'),
    /port must be integer/,
  ],
  ['an unknown kind', 'Service', '-router', (o) => set(o, 'kind', 'Servise'), /v1\/Servise is no kind/],
  [
    'a long name',
    'Service',
    '-router',
    (o) => set(o['metadata'], 'name', 'a'.repeat(64)),
    /not a name for this kind/,
  ],
  [
    'a name with capitals',
    'ConfigMap',
    '-models',
    (o) => set(o['metadata'], 'name', 'Aa'),
    /not a name for this kind/,
  ],
  [
    'a name twice',
    'Service',
    '-router',
    (o, all) => all.push(o as unknown as Manifest),
    /Service .* is there twice/,
  ],
  [
    'a long StatefulSet',
    'StatefulSet',
    '',
    (o) => set(o['metadata'], 'name', 'a'.repeat(53)),
    /labels would be too long/,
  ],
  [
    'a bad label',
    'Service',
    '-router',
    (o) => set(o['metadata']?.['labels'], 'a', 'b c'),
    /the value of label a is none/,
  ],
  ['a bad key', 'Service', '-router', (o) => set(o['metadata']?.['labels'], 'a b', 'c'), /a b is no key/],
  [
    'an annotation that is no string',
    'Service',
    '-router',
    (o) => set(o['metadata']?.['annotations'], 'a', 1),
    /must be string/,
  ],
  [
    'a long name of a port',
    'Deployment',
    '-router',
    (o) => set((container(o)['ports'] as Tree)[0], 'name', 'a-name-of-sixteen'),
    /is no name of a port/,
  ],
  [
    'a port twice',
    'Deployment',
    '-router',
    (o) => push(container(o)['ports'], { name: 'x', containerPort: 8_000 }),
    /port 8000 is there twice/,
  ],
  [
    'a variable twice',
    'Deployment',
    '-router',
    (o) => push(container(o)['env'], { name: 'KVCAPSULE_PORT', value: '1' }),
    /variable KVCAPSULE_PORT is there twice/,
  ],
  [
    'a variable that is no string',
    'Deployment',
    '-router',
    (o) => push(container(o)['env'], { name: 'A', value: 1 }),
    /must be string/,
  ],
  [
    'a variable of a later one',
    'StatefulSet',
    '',
    (o) => (container(o)['env'] as unknown as unknown[]).unshift({ name: 'A', value: '$(POD_IP)' }),
    /\$\(POD_IP\) is not set before/,
  ],
  [
    'an unknown setting',
    'StatefulSet',
    '',
    (o) => push(container(o)['env'], { name: 'KVCAPSULE_POOL_MB', value: '1' }),
    /KVCAPSULE_POOL_MB is no setting/,
  ],
  [
    'a setting of the other part',
    'Deployment',
    '-router',
    (o) => push(container(o)['env'], { name: 'KVCAPSULE_POOL_MIB', value: '1' }),
    /KVCAPSULE_POOL_MIB is no setting/,
  ],
  [
    'a setting out of bounds',
    'StatefulSet',
    '',
    (o) => push(container(o)['env'], { name: 'KVCAPSULE_GUARANTEED_SHARE', value: '2' }),
    /KVCAPSULE_GUARANTEED_SHARE: /,
  ],
  [
    'a file of models that is none',
    'ConfigMap',
    '-models',
    (o) => set(o['data'], 'models.json', '{"models": []}'),
    /--models/,
  ],
  [
    'a mount without a volume',
    'Deployment',
    '-router',
    (o) => push(container(o)['volumeMounts'], { name: 'x', mountPath: '/x' }),
    /there is no volume x/,
  ],
  [
    'a path mounted twice',
    'Deployment',
    '-router',
    (o) => push(container(o)['volumeMounts'], { name: 'tmp', mountPath: '/tmp' }),
    /\/tmp is mounted twice/,
  ],
  [
    'a volume twice',
    'Deployment',
    '-router',
    (o) => push(pod(o)['volumes'], { name: 'tmp', emptyDir: {} }),
    /tmp is there twice/,
  ],
  [
    'a probe of an unknown port',
    'Deployment',
    '-router',
    (o) => set(container(o)['readinessProbe']?.['httpGet'], 'port', 'web'),
    /the container has no port web/,
  ],
  [
    'a probe without patience',
    'StatefulSet',
    '',
    (o) => set(container(o)['startupProbe'], 'failureThreshold', 0),
    /are 1 at least/,
  ],
  [
    'a liveness probe of two successes',
    'StatefulSet',
    '',
    (o) => set(container(o)['livenessProbe'], 'successThreshold', 2),
    /successThreshold is 1 here/,
  ],
  [
    'more requested than the limit',
    'Deployment',
    '-router',
    (o) => set(container(o)['resources']?.['requests'], 'memory', '3Gi'),
    /more memory is requested/,
  ],
  [
    'no quantity',
    'Deployment',
    '-router',
    (o) => set(container(o)['resources']?.['requests'], 'memory', '1 GB'),
    /must match format "quantity"/,
  ],
  [
    'a GPU without a limit',
    'Deployment',
    '-router',
    (o) => set(container(o)['resources']?.['requests'], 'nvidia.com/gpu', '1'),
    /nvidia\.com\/gpu has no limit/,
  ],
  [
    'huge pages alone',
    'Deployment',
    '-router',
    (o) => set(container(o), 'resources', { limits: { 'hugepages-2Mi': '2Mi' } }),
    /huge pages need cpu or memory/,
  ],
  [
    'root',
    'Deployment',
    '-router',
    (o) => set(pod(o), 'securityContext', { seccompProfile: { type: 'RuntimeDefault' } }),
    /may run as root/,
  ],
  [
    'privileges',
    'Deployment',
    '-router',
    (o) => set(container(o)['securityContext'], 'allowPrivilegeEscalation', true),
    /may gain privileges/,
  ],
  [
    'capabilities',
    'Deployment',
    '-router',
    (o) => set(container(o)['securityContext'], 'capabilities', { drop: ['ALL'], add: ['SYS_PTRACE'] }),
    /keeps capabilities/,
  ],
  [
    'no seccomp profile',
    'Deployment',
    '-router',
    (o) => set(pod(o)['securityContext'], 'seccompProfile', { type: 'Unconfined' }),
    /has no seccomp profile/,
  ],
  [
    'a root file system',
    'Deployment',
    '-router',
    (o) => set(container(o)['securityContext'], 'readOnlyRootFilesystem', false),
    /writes to its root file system/,
  ],
  [
    'a path of the node',
    'Deployment',
    '-router',
    (o) => push(pod(o)['volumes'], { name: 'x', hostPath: { path: '/' } }),
    /a volume of kind hostPath/,
  ],
  [
    'the node’s network',
    'Deployment',
    '-router',
    (o) => set(pod(o), 'hostNetwork', true),
    /shares what is the node’s/,
  ],
  [
    'a token',
    'Deployment',
    '-router',
    (o) => set(pod(o), 'automountServiceAccountToken', true),
    /mounts a token/,
  ],
  [
    'variables of services',
    'Deployment',
    '-router',
    (o) => set(pod(o), 'enableServiceLinks', true),
    /are called as settings are/,
  ],
  [
    'a ConfigMap that is not there',
    'ConfigMap',
    '-models',
    (o) => set(o['metadata'], 'name', 'x'),
    /there is no ConfigMap .*-models/,
  ],
  [
    'a Secret that is not there',
    'Deployment',
    '-router',
    (o) => push(container(o)['env'], { name: 'A', valueFrom: { secretKeyRef: { name: 'x', key: 'y' } } }),
    /there is no Secret x/,
  ],
  [
    'an account that is not there',
    'ServiceAccount',
    '',
    (o) => set(o['metadata'], 'name', 'x'),
    /there is no ServiceAccount/,
  ],
  [
    'a selector of nothing',
    'PodDisruptionBudget',
    '-router',
    (o) => set(spec(o)['selector']?.['matchLabels'], 'a', 'b'),
    /PodDisruptionBudget .*: selects no pod/,
  ],
  [
    'a selector of two parts',
    'NetworkPolicy',
    '-router',
    (o) => set(spec(o), 'podSelector', { matchLabels: { 'app.kubernetes.io/instance': 'vision' } }),
    /selects pods of /,
  ],
  [
    'a selector of other pods',
    'Deployment',
    '-router',
    (o) => set(spec(o)['selector'], 'matchLabels', { 'app.kubernetes.io/component': 'redis' }),
    /selects other pods than its own/,
  ],
  [
    'a Service of an unknown port',
    'Service',
    '-worker',
    (o) => set((spec(o)['ports'] as Tree)[0], 'targetPort', 'x'),
    /pods have no port x/,
  ],
  [
    'a monitor of an unknown port',
    'ServiceMonitor',
    '-worker',
    (o) => set((spec(o)['endpoints'] as Tree)[0], 'port', 'x'),
    /there is no port x/,
  ],
  [
    'a monitor of no Service',
    'ServiceMonitor',
    '-worker',
    (o) => set(spec(o)['selector'], 'matchLabels', { a: 'b' }),
    /selects 0 Services/,
  ],
  [
    'a StatefulSet without its Service',
    'StatefulSet',
    '',
    (o) => set(spec(o), 'serviceName', 'x'),
    /there is no Service x/,
  ],
  [
    'a scaler of nothing',
    'HorizontalPodAutoscaler',
    '',
    (o) => set(spec(o)['scaleTargetRef'], 'name', 'x'),
    /there is no Deployment x/,
  ],
  [
    'a scaler beside replicas',
    'Deployment',
    '-router',
    (o) => set(spec(o), 'replicas', 1),
    /sets its replicas itself/,
  ],
  [
    'bounds of a scaler',
    'HorizontalPodAutoscaler',
    '',
    (o) => set(spec(o), 'minReplicas', 100),
    /scales between 100 and 8/,
  ],
  ['a scaler by nothing', 'HorizontalPodAutoscaler', '', (o) => set(spec(o), 'metrics', []), /has no metric/],
  [
    'both bounds of a budget',
    'PodDisruptionBudget',
    '-router',
    (o) => set(spec(o), 'maxUnavailable', 1),
    /needs one of minAvailable and maxUnavailable/,
  ],
  [
    'a group of rules twice',
    'PrometheusRule',
    '',
    (o) => push(spec(o)['groups'], (spec(o)['groups'] as Tree)[0]),
    /two groups have one name/,
  ],
  [
    'a rule that is none',
    'PrometheusRule',
    '',
    (o) => push((spec(o)['groups'] as Tree)[0]?.['rules'], { expr: '1' }),
    /neither an alert nor a record/,
  ],
];

describe('what an API server would refuse', () => {
  it('is nothing of an installation with everything on', async () => {
    expect(await faultsOf(whole, GIVEN)).toEqual([]);
  });

  it.each(BREAKS)('%s', async (_what, kind, end, change, message) => {
    expect((await broken(kind, end, change)).join('\n')).toMatch(message);
  });
});
