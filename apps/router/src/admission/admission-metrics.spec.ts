import { createMetrics } from '@kvcapsule/platform/telemetry';
import { expect, it } from 'vitest';
import { AdmissionMetrics } from './admission-metrics.js';

it('names so many tenants and no more, whoever asks', async () => {
  const all = createMetrics('router');
  const names = Array.from({ length: 40 }, (_, index) => `t${index}`);
  const metrics = new AdmissionMetrics(all, names);
  for (const name of [...names, 'stranger']) {
    metrics.admitted(name, 1_500);
    metrics.refused(name, 'wait-too-long');
  }
  metrics.waiting(new Map([...names, 'stranger'].map((name) => [name, 2])), 7);
  const labels = async (metric: 'refusals' | 'queueRequests') =>
    (await all[metric].get()).values.map(({ labels: { tenant }, value }) => [tenant, value]);
  expect(await labels('refusals')).toEqual([...names.slice(0, 32).map((name) => [name, 1]), ['other', 9]]);
  expect(await labels('queueRequests')).toEqual([
    ...names.slice(0, 32).map((name) => [name, 2]),
    ['other', 18],
  ]);
  const text = await all.registry.metrics();
  expect(text).toContain('kvcapsule_router_queue_wait_seconds_bucket{le="1",tenant="other"} 0');
  expect(text).toContain('kvcapsule_router_queue_wait_seconds_bucket{le="2.5",tenant="other"} 9');
});

it('makes as many series of ten thousand tenants as of a hundred', async () => {
  const seriesOf = async (tenants: number): Promise<number> => {
    const all = createMetrics('router');
    const names = Array.from({ length: tenants }, (_, index) => `t${index}`);
    const metrics = new AdmissionMetrics(all, names);
    for (const name of names) {
      metrics.admitted(name, 1_500);
      for (const reason of ['full', 'shed', 'wait-too-long', 'deadline', 'cap-tokens'] as const)
        metrics.refused(name, reason);
    }
    metrics.waiting(new Map(names.map((name) => [name, 2])), 7);
    const text = await all.registry.metrics();
    return text.split('\n').filter((line) => line.startsWith('kvcapsule_')).length;
  };
  const few = await seriesOf(100);
  expect(await seriesOf(10_000)).toBe(few);
  expect(few).toBeLessThan(1_000);
});
