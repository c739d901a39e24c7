import { KvcError } from '@kvcapsule/contracts';
import type { LedgerPort } from '@kvcapsule/domain/ledger';
import type { RegistryPort } from '@kvcapsule/domain/registry';
import { expect, it, vi } from 'vitest';

import { createMetrics, MeasuredLedger, MeasuredRegistry } from './index.js';

const KEY = { workerId: 'w', epoch: 1, leaseId: 'l' };

const seriesOf = async (metric: {
  get(): Promise<{ values: { labels: Partial<Record<string, string | number>>; value: number }[] }>;
}) => (await metric.get()).values.map(({ labels, value }) => [...Object.values(labels), value]);

const counts = async (metric: {
  get(): Promise<{
    values: { metricName?: string; labels: Partial<Record<string, string | number>>; value: number }[];
  }>;
}) =>
  (await metric.get()).values
    .filter(({ metricName }) => metricName?.endsWith('_count'))
    .map(({ labels, value }) => [...Object.values(labels), value]);

it('times answers of the ledger, refusals too, and counts what brings none', async () => {
  const metrics = createMetrics('worker');
  const outcomes: (Error | undefined)[] = [
    undefined,
    new KvcError('NO_CAPACITY', 'full'),
    new KvcError('LEDGER_UNAVAILABLE', 'away'),
    new Error('odd'),
  ];
  const commit = vi.fn(() => {
    const outcome = outcomes.shift();
    return outcome === undefined ? Promise.resolve() : Promise.reject(outcome);
  });
  const release = vi.fn(() => Promise.resolve());
  const ledger = new MeasuredLedger({ commit, release } as unknown as LedgerPort, metrics);
  await ledger.commit(KEY, 3);
  for (const message of ['full', 'away', 'odd']) await expect(ledger.commit(KEY, 3)).rejects.toThrow(message);
  await ledger.release(KEY);
  expect(commit).toHaveBeenCalledWith(KEY, 3);
  expect(await counts(metrics.redis)).toEqual([
    ['commit', 2],
    ['release', 1],
  ]);
  expect(await seriesOf(metrics.ledgerRefusals)).toEqual([['commit', 'no_capacity', 1]]);
  expect(await seriesOf(metrics.redisErrors)).toEqual([['commit', 2]]);
});

it('times the verbs of the registry', async () => {
  const metrics = createMetrics('worker');
  const done = () => Promise.resolve({ epoch: 2 });
  const inner = { register: done, heartbeat: done, freed: done } as unknown as RegistryPort;
  const registry = new MeasuredRegistry(inner, metrics);
  const [worker, load] = [{}, {}] as [never, never];
  expect(await registry.register(worker, load, { instanceId: 'i', heldEpoch: 0 })).toEqual({ epoch: 2 });
  await registry.heartbeat(worker, 2, load);
  await registry.freed('w', 2, load);
  expect(await counts(metrics.redis)).toEqual([
    ['register', 1],
    ['heartbeat', 1],
    ['freed', 1],
  ]);
});
