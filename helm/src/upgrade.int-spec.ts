import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Manifest, render, upgradeFaults } from './manifests/index.js';
import { podsOf } from './manifests/rules/pods.js';
import { CASES, MINIMAL } from './testing/cases.js';
import type { ChartValues } from './values/index.js';

/** Templates of pods by the name of what makes them. */
const templates = (objects: readonly Manifest[]) =>
  new Map(
    podsOf(objects).map(({ owner, spec, annotations }) => [
      owner.metadata.name,
      JSON.stringify({ spec, annotations }),
    ]),
  );

/** Workloads whose pods are made anew by an upgrade from one rendering to the other. */
async function rolled(before: ChartValues, after: ChartValues): Promise<string[]> {
  const [old, now] = await Promise.all([render(before), render(after)]).then((both) => both.map(templates));
  return [...(now ?? [])].filter(([name, text]) => old?.get(name) !== text).map(([name]) => name);
}

const ROUTER = 'vision-kvcapsule-router';
const WORKER = 'vision-kvcapsule-worker-emoji-vlm-default';
const REDIS = 'vision-kvcapsule-redis';

describe('an upgrade', () => {
  it('changes nothing that cannot be changed, from any installation to any other', async () => {
    const all = await Promise.all(Object.values(CASES).map((values) => render(values)));
    const faults = all.flatMap((before) => all.flatMap((after) => upgradeFaults(before, after)));
    // what a claim asks for is the user's choice, and stays what it was
    expect(faults.filter((fault) => !fault.startsWith('PersistentVolumeClaim'))).toEqual([]);
  });

  const changes: [string, ChartValues, string[]][] = [
    ['a setting of the router', { router: { config: { queueSize: 9 } } }, [ROUTER]],
    ['a setting of workers', { worker: { config: { swapMib: 1 } } }, [WORKER]],
    [
      'the names of a model',
      { models: [{ ...MINIMAL.models[0], aliases: ['a'] }] as ChartValues['models'] },
      [ROUTER],
    ],
    ['the memory of Redis', { redis: { bundled: { maxMemory: '1gb' } } }, [REDIS]],
    ['replicas', { router: { replicas: 9 }, worker: { replicas: 9 } }, []],
    ['a policy', { networkPolicy: { enabled: false } }, []],
  ];

  it.each(changes)('of %s makes those pods anew that read it', async (_what, change, expected) => {
    expect(await rolled(MINIMAL, { ...MINIMAL, ...change })).toEqual(expected);
  });

  it('of keys in the values makes routers anew', async () => {
    const keys = (key: string) => ({ ...MINIMAL, auth: { apiKeys: [key] } });
    expect(await rolled(keys('first-key'), keys('second-key'))).toEqual([ROUTER]);
  });

  it('from the released chart changes nothing that cannot be changed', async () => {
    const file = join(import.meta.dirname, '../released.json');
    const released = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Manifest[]>;
    for (const [name, before] of Object.entries(released)) {
      const after = await render(CASES[name] ?? {});
      expect(upgradeFaults(before, after), name).toEqual([]);
      const names = after.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      expect(names).toEqual(
        expect.arrayContaining(before.map(({ kind, metadata }) => `${kind} ${metadata.name}`)),
      );
    }
  });
});

/** An object before and after an upgrade, and what an API server says of it. */
const CHANGES: [string, Partial<Manifest>, Partial<Manifest>, string | undefined][] = [
  ['StatefulSet', { spec: { serviceName: 'a' } }, { spec: { serviceName: 'b' } }, 'serviceName'],
  ['StatefulSet', { spec: { selector: { a: '1' } } }, { spec: { selector: { a: '2' } } }, 'selector'],
  ['StatefulSet', { spec: {} }, { spec: { volumeClaimTemplates: [{}] } }, 'volumeClaimTemplates'],
  ['StatefulSet', { spec: { podManagementPolicy: 'Parallel' } }, { spec: {} }, 'podManagementPolicy'],
  ['StatefulSet', { spec: { replicas: 1, template: {} } }, { spec: { replicas: 2 } }, undefined],
  ['Deployment', { spec: { selector: { a: '1' } } }, { spec: { selector: {} } }, 'selector'],
  ['Deployment', { spec: { strategy: { type: 'Recreate' } } }, { spec: { template: {} } }, undefined],
  ['Service', { spec: { clusterIP: 'None' } }, { spec: {} }, 'clusterIP'],
  ['Service', { spec: { type: 'ClusterIP', ports: [1] } }, { spec: { type: 'LoadBalancer' } }, undefined],
  ['Job', { spec: { template: { spec: { a: 1 } } } }, { spec: { template: {} } }, 'template'],
  ['Job', { spec: { parallelism: 1 } }, { spec: { parallelism: 2 } }, undefined],
  [
    'PersistentVolumeClaim',
    { spec: { storageClassName: 'a' } },
    { spec: { storageClassName: 'b' } },
    'storageClassName',
  ],
  ['PersistentVolumeClaim', claim('1Gi'), claim('1000Mi'), 'less'],
  ['PersistentVolumeClaim', claim('1Gi'), claim('2G'), undefined],
  ['Secret', { type: 'Opaque' } as object, { type: 'kubernetes.io/tls' } as object, 'type'],
  ['ConfigMap', { immutable: true, data: { a: '1' } } as object, { data: { a: '2' } }, 'data'],
  ['ConfigMap', { data: { a: '1' } }, { data: { a: '2' } }, undefined],
];

function claim(storage: string): Partial<Manifest> {
  return { spec: { resources: { requests: { storage } } } };
}

describe('what an API server refuses of an upgrade', () => {
  const object = (kind: string, of: Partial<Manifest>, annotations = {}): Manifest[] => [
    { apiVersion: 'v1', kind, metadata: { name: 'a', annotations }, ...of },
  ];

  it.each(CHANGES)('%s %j to %j: %s', (kind, before, after, fault) => {
    const faults = upgradeFaults(object(kind, before), object(kind, after));
    expect(faults).toEqual(
      fault === undefined ? [] : [expect.stringMatching(new RegExp(`^${kind} a: .*\\b${fault}\\b`))],
    );
  });

  it('is nothing of what has gone, or is a hook that Helm makes anew', () => {
    const [before, after] = [{ spec: { template: 1 } }, { spec: { template: 2 } }];
    const hook = { 'helm.sh/hook': 'test' };
    expect(upgradeFaults(object('Job', before), [])).toEqual([]);
    expect(upgradeFaults(object('Job', before, hook), object('Job', after, hook))).toEqual([]);
  });
});
