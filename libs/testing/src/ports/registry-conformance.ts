import { type RegistryNews, type RegistryPort, ROUTER_TTL_MS } from '@kvcapsule/domain/registry';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { PortsUnderTest } from './ledger-conformance.js';
import { workerDescriptor, workerLoad } from './worker-records.js';
import { workersOf } from './workers-of.js';

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
      await registry.heartbeat(WORKER, epoch, load);
      await registry.register(workerDescriptor('w0'), load, { instanceId: 'other', heldEpoch: 0 });
      const all = await workersOf(registry);
      expect(all.map(({ workerId }) => workerId)).toEqual(['w0', 'w1']);
      expect(all[1]).toEqual({ ...WORKER, epoch, load });
      await registry.deregister('w1', epoch);
      await registry.deregister('w1', epoch);
      expect((await workersOf(registry)).map(({ workerId }) => workerId)).toEqual(['w0']);
      await expect(registry.heartbeat(WORKER, epoch, load)).rejects.toMatchObject({ code: 'NO_WORKER' });
    });

    it('replaces a process by another one', async () => {
      const old = await register('one');
      const young = await register('two');
      expect(young).toBeGreaterThan(old);
      await expect(registry.heartbeat(WORKER, old, workerLoad())).rejects.toThrow(STALE);
      await expect(register('one', old)).rejects.toThrow(STALE);
      await registry.deregister('w1', old);
      await registry.heartbeat(WORKER, young, workerLoad());
      expect(await workersOf(registry)).toMatchObject([{ epoch: young }]);
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
      await expect(registry.heartbeat(WORKER, epoch, workerLoad())).rejects.toThrow(STALE);
      expect(await register('one', epoch)).toBe(second);
      await registry.deregister('w1', second);
      expect(await register('one', epoch)).toBeGreaterThan(second);
    });

    it('lets routers reserve what pool and ledger both have', async () => {
      const { ledger } = ports;
      const epoch = await register('one');
      const free = async () => (await workersOf(registry))[0]?.load.freePages;
      await ledger.commit({ workerId: 'w1', epoch, leaseId: 'a' }, 60);
      await registry.heartbeat(WORKER, epoch, workerLoad({ freePages: 90 }));
      expect(await free()).toBe(40);
      await registry.freed('w1', epoch, workerLoad({ freePages: 30 }));
      expect(await free()).toBe(30);
      await registry.freed('w1', epoch - 1, workerLoad({ freePages: 3 }));
      expect(await free()).toBe(30);
    });
  });

  describe('a registry of routers', () => {
    const enlist = async (instanceId: string, heldEpoch = 0, refusedEpoch = 0) =>
      (await ports.registry.registerRouter('r1', { instanceId, heldEpoch, refusedEpoch })).epoch;
    const REFUSED = expect.objectContaining({ code: 'STALE_ROUTER' }) as Error;

    beforeEach(async () => {
      ports = await make();
    });

    it('keeps the epoch of a process that renews its record, and gives it another when a ledger has refused that', async () => {
      const epoch = await enlist('one');
      expect(await enlist('one')).toBe(epoch);
      expect(await enlist('one', epoch)).toBe(epoch);
      const next = await enlist('one', epoch, epoch);
      expect(next).toBeGreaterThan(epoch);
      expect(await enlist('one', epoch, epoch)).toBe(next);
    });

    it('gives an id to the process that comes last, and back to none that came before', async () => {
      const old = await enlist('one');
      const young = await enlist('two');
      expect(young).toBeGreaterThan(old);
      await expect(enlist('one', old)).rejects.toThrow(REFUSED);
      await ports.registry.deregisterRouter('r1', old);
      expect(await enlist('two', young)).toBe(young);
      await ports.registry.deregisterRouter('r1', young);
      await ports.registry.deregisterRouter('r1', young);
      expect(await enlist('two', young)).toBeGreaterThan(young);
    });

    // one wait for all of it: a real store takes its time
    it(
      'counts those whose records live, tells their addresses, and gives who comes later another epoch, since what it had reserved may be gone',
      { timeout: 60_000 },
      async () => {
        const by = { instanceId: 'one', heldEpoch: 0, refusedEpoch: 0 };
        const enlistedAs = (routerId: string, more: object = {}) =>
          ports.registry.registerRouter(routerId, { ...by, ...more });
        const seenBy = async (routerId: string, address?: string) => {
          const { routers, addresses } = await enlistedAs(routerId, { address });
          return { routers, addresses: [...addresses].sort() };
        };
        expect(await seenBy('r1')).toEqual({ routers: 1, addresses: [] });
        expect(await seenBy('r2', 'b:2')).toEqual({ routers: 2, addresses: ['b:2'] });
        expect((await seenBy('r2', 'b:2')).routers).toBe(2);
        expect(await seenBy('r1', 'a:1')).toEqual({ routers: 2, addresses: ['a:1', 'b:2'] });
        const third = await enlistedAs('r3');
        expect(third.routers).toBe(3);
        await ports.registry.deregisterRouter('r3', third.epoch);
        expect((await seenBy('r1', 'a:1')).routers).toBe(2);
        const { epoch } = await enlistedAs('r2');
        await ports.pass(ROUTER_TTL_MS);
        expect(await seenBy('r1', 'a:1')).toEqual({ routers: 1, addresses: ['a:1'] });
        expect((await enlistedAs('r2', { heldEpoch: epoch })).epoch).toBeGreaterThan(epoch);
      },
    );
  });

  describe('who follows a registry', () => {
    let stop: (() => Promise<void>) | undefined;
    afterEach(() => stop?.());

    /** Ids and free pages in each news since it was last asked. */
    async function follow() {
      const all: RegistryNews[] = [];
      const following = await registry.follow({
        heard: (news) => {
          if (news.told.length + news.gone.length > 0) all.push(news);
        },
        missed: (error) => {
          throw error;
        },
      });
      stop = () => following.stop();
      const news = async () => {
        await following.look();
        const said = all.splice(0);
        return {
          told: said.flatMap(({ told }) => told.map(({ workerId, load }) => [workerId, load.freePages])),
          gone: said.flatMap(({ gone }) => gone),
        };
      };
      return { following, news };
    }

    it('hears of all that are there, then of each change once', async () => {
      ports = await make();
      ({ registry } = ports);
      const epoch = await register('one');
      const { news } = await follow();
      expect(await news()).toEqual({ told: [['w1', 90]], gone: [] });
      await registry.heartbeat(WORKER, epoch, workerLoad());
      expect(await news()).toEqual({ told: [], gone: [] });
      await registry.heartbeat(WORKER, epoch, workerLoad({ freePages: 7 }));
      const by = { instanceId: 'other', heldEpoch: 0 };
      await registry.register(workerDescriptor('w2'), workerLoad(), by);
      expect((await news()).told.sort()).toEqual([
        ['w1', 7],
        ['w2', 90],
      ]);
      await registry.deregister('w1', epoch);
      expect(await news()).toEqual({ told: [], gone: ['w1'] });
    });

    it('hears of a worker’s new epoch, and of no older one', async () => {
      ports = await make();
      ({ registry } = ports);
      const old = await register('one');
      const { news } = await follow();
      await news();
      await register('two');
      expect(await news()).toEqual({ told: [['w1', 90]], gone: [] });
      await registry.deregister('w1', old);
      expect(await news()).toEqual({ told: [], gone: [] });
    });

    it('hears of pages given back while somebody waits for them', async () => {
      ports = await make();
      ({ registry } = ports);
      const epoch = await register('one', 0, workerLoad({ freePages: 0 }));
      const { following, news } = await follow();
      await news();
      following.want();
      await news();
      await registry.freed('w1', epoch, workerLoad({ freePages: 50 }));
      expect(await news()).toEqual({ told: [['w1', 50]], gone: [] });
    });
  });
}
