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

  it('says what cannot be changed', () => {
    const set = (serviceName: string): Manifest => ({
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 'a' },
      spec: { serviceName },
    });
    expect(upgradeFaults([set('a')], [set('b')])).toEqual(['StatefulSet a: serviceName cannot be changed']);
  });
});
