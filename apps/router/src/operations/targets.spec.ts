import { afterEach, expect, it } from 'vitest';
import { Harness, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

let router: Harness;
afterEach(() => router.stop());

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
  const path = { __metrics_path__: '/metrics' };
  expect(await response.json()).toEqual([
    { targets: ['r1:8000'], labels: { ...path, job: 'kvcapsule-router', id: 'r1:8000' } },
    { targets: ['r2:8000'], labels: { ...path, job: 'kvcapsule-router', id: 'r2:8000' } },
    {
      targets: ['host-1:9001'],
      labels: { ...path, job: 'kvcapsule-worker', id: 'w0', model: 'demo' },
    },
  ]);
});
