import type { RegistryPort } from '@kvcapsule/domain/registry';
import { beforeEach, describe, expect, it } from 'vitest';

import type { PortsUnderTest } from './ledger-conformance.js';
import { workerDescriptor, workerLoad } from './worker-records.js';

const WORKER = workerDescriptor('w1');
const STALE = expect.objectContaining({ code: 'STALE_EPOCH' }) as Error;

/** What every `RegistryPort` does. */
export function registryConformance(make: () => Promise<PortsUnderTest>): void {
  let ports: PortsUnderTest;
  let registry: RegistryPort;
  const register = async (instanceId: string, heldEpoch = 0, load = workerLoad()) =>
    (await registry.register(WORKER, load, { instanceId, heldEpoch })).epoch;

  describe('a registry', () => {
    beforeEach(async () => {
      ports = await make();
      ({ registry } = ports);
    });

    it('lists what was registered, with the latest load, until it leaves', async () => {
      const epoch = await register('one');
      const load = workerLoad({ state: 'draining', freePages: 3 });
      await registry.heartbeat('w1', epoch, load);
      await registry.register(workerDescriptor('w0'), load, { instanceId: 'other', heldEpoch: 0 });
      const all = await registry.list();
      expect(all.map(({ workerId }) => workerId)).toEqual(['w0', 'w1']);
      expect(all[1]).toEqual({ ...WORKER, epoch, load });
      await registry.deregister('w1', epoch);
      await registry.deregister('w1', epoch);
      expect((await registry.list()).map(({ workerId }) => workerId)).toEqual(['w0']);
      await expect(registry.heartbeat('w1', epoch, load)).rejects.toMatchObject({ code: 'NO_WORKER' });
    });

    it('replaces a process by another one', async () => {
      const old = await register('one');
      const young = await register('two');
      expect(young).toBeGreaterThan(old);
      await expect(registry.heartbeat('w1', old, workerLoad())).rejects.toThrow(STALE);
      await expect(register('one', old)).rejects.toThrow(STALE);
      await registry.deregister('w1', old);
      await registry.heartbeat('w1', young, workerLoad());
      expect(await registry.list()).toMatchObject([{ epoch: young }]);
      // neither does the older one come back when the younger has left
      await registry.deregister('w1', young);
      await expect(register('one', old)).rejects.toThrow(STALE);
    });

    it('gives the process whose answer was lost the epoch that it has won', async () => {
      const { ledger } = ports;
      const epoch = await register('one');
      await ledger.commit({ workerId: 'w1', epoch, leaseId: 'a' }, 5);
      expect(await register('one')).toBe(epoch);
      expect(await ledger.account('w1')).toMatchObject({ epoch, committedPages: 5 });
      await registry.deregister('w1', epoch);
      const second = await register('one', epoch);
      expect(second).toBeGreaterThan(epoch);
      // it knows of its first epoch only
      await expect(registry.heartbeat('w1', epoch, workerLoad())).rejects.toThrow(STALE);
      expect(await register('one', epoch)).toBe(second);
      await registry.deregister('w1', second);
      expect(await register('one', epoch)).toBeGreaterThan(second);
    });
  });
}
