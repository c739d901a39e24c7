import { FakeEngine } from '@kvcapsule/testing/engine';
import { afterEach, describe, expect, it } from 'vitest';

import { generateOf, type Rig, type RigOptions, RouterSide, startRig, until } from '../testing/harness.js';

let rig: Rig;
afterEach(() => rig.close());

const start = async (options: RigOptions = {}): Promise<RouterSide> => {
  rig = await startRig(options);
  return new RouterSide(rig.client);
};

const lease = (leaseId: string, more: { epoch?: bigint; provisional?: boolean } = {}) => ({
  ...{ leaseId, epoch: 1n, pages: 16, provisional: false },
  ...more,
});
const ask = (id: string, of: ReturnType<typeof lease>, maxTokens = 5) =>
  generateOf({ id, parts: [[10, 11]], maxTokens, sampling: { ignoreEos: true }, lease: of });

/** Samples by their labels, as `reserved taken`. */
async function counts(name: 'leases' | 'leaseResizes' | 'leasesEnded'): Promise<Record<string, number>> {
  const { values } = await rig.metrics[name].get();
  return Object.fromEntries(values.map(({ labels, value }) => [Object.values(labels).join(' '), value]));
}

describe('the counters of leases', () => {
  it('tell those that were taken on and given back, by kind', async () => {
    const router = await start();
    for (const id of ['a', 'b']) await router.ask(ask(id, lease(id)));
    await router.ask(ask('c', lease('c', { provisional: true })));
    expect(await counts('leases')).toEqual({ 'reserved taken': 2, 'provisional taken': 1 });
    await expect.poll(() => counts('leasesEnded')).toEqual({ released: 3 });
  });

  it('tell those of another process, which are refused', async () => {
    const router = await start();
    expect((await router.ask(ask('a', lease('a', { epoch: 7n })))).error?.code).toBe('STALE_EPOCH');
    expect(await counts('leases')).toEqual({ 'reserved refused': 1 });
  });

  it('tell those of requests that are not taken at all', async () => {
    const router = await start();
    await rig.worker.drain(0);
    expect((await router.ask(ask('a', lease('a')))).error?.code).toBe('DRAINING');
    expect(await counts('leases')).toEqual({});
    expect(await counts('leasesEnded')).toEqual({ declined: 1 });
  });

  it('tell those that their router has given back', async () => {
    const router = await start({ engine: new FakeEngine(64, [], 4) });
    await rig.ledger.release({ workerId: 'w', epoch: 1, leaseId: 'l' });
    const { error } = await router.ask(ask('a', lease('l'), 400));
    expect(error?.code).toBe('ABORTED');
    expect(await counts('leasesEnded')).toEqual({ lost: 1 });
  });

  it('tell how often one was to grow, and whether it could', async () => {
    const router = await start({ engine: new FakeEngine(64, [], 1) });
    const { capacityPages } = rig.worker.serving.scheduler.pool;
    await rig.ledger.reserve({ workerId: 'w', epoch: 1, leaseId: 'others' }, capacityPages - 16);
    router.send(ask('a', lease('a'), 300));
    await until(() => rig.worker.serving.scheduler.pool.heldPages > 16);
    await expect.poll(async () => (await counts('leaseResizes'))['refused'] ?? 0).toBeGreaterThan(0);
    await rig.ledger.release({ workerId: 'w', epoch: 1, leaseId: 'others' });
    await router.answer('a');
    expect((await counts('leaseResizes'))['set']).toBeGreaterThan(0);
  });
});
