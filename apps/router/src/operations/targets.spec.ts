import { afterEach, expect, it } from 'vitest';
import { Harness, modelSettings, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

let router: Harness;
afterEach(() => router.stop());

const path = { __metrics_path__: '/metrics' };

it('lists routers and workers as Prometheus’ HTTP service discovery wants them, without a key', async () => {
  router = await new Harness().start({ apiKeys: ['key-1'] }, 0);
  router.ports.addresses.push('r1:8000', 'r2:8000');
  router.ports.workers.push(
    workerRecord('w0', '127.0.0.1:1', { metricsAddress: 'host-1:9001' }),
    workerRecord('silent', '127.0.0.1:2'),
  );
  await until(() => router.fleet.views().length === 2);
  const response = await fetch(`${router.url}/metrics/targets`);
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  expect(await response.json()).toEqual([
    { targets: ['r1:8000'], labels: { ...path, job: 'kvcapsule-router', id: 'r1:8000' } },
    { targets: ['r2:8000'], labels: { ...path, job: 'kvcapsule-router', id: 'r2:8000' } },
    {
      targets: ['host-1:9001'],
      labels: { ...path, job: 'kvcapsule-worker', id: 'w0', model: 'demo' },
    },
  ]);
});

it('names models as clients do, whichever revision a worker serves, and none that it does not serve', async () => {
  const models = [
    {
      ...modelSettings('org/served', 'folder'),
      folders: ['folder', 'folder-2'].map((workerModelId) => ({ modelDir: '', workerModelId })),
    },
    modelSettings('other', 'demo'),
  ];
  router = await new Harness().start({ models }, 0);
  const ids = ['folder', 'folder-2', 'demo', 'strange'];
  router.ports.workers.push(
    ...ids.map((modelId, index) =>
      workerRecord(modelId, `127.0.0.1:${index + 1}`, { modelId, metricsAddress: `host:${index}` }),
    ),
  );
  await until(() => router.fleet.views().length === ids.length);
  const groups = (await (await fetch(`${router.url}/metrics/targets`)).json()) as { labels: object }[];
  expect(groups.map(({ labels }) => labels)).toEqual([
    { ...path, job: 'kvcapsule-worker', id: 'folder', model: 'org/served' },
    { ...path, job: 'kvcapsule-worker', id: 'folder-2', model: 'org/served' },
    { ...path, job: 'kvcapsule-worker', id: 'demo', model: 'other' },
    { ...path, job: 'kvcapsule-worker', id: 'strange' },
  ]);
});
