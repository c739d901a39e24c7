import type { LedgerPort, ReservingRouter, RouterIdentity } from '@kvcapsule/domain/ledger';
import type { RegistryPort, RouterRegistryPort } from '@kvcapsule/domain/registry';
import { beforeEach, describe, expect, it } from 'vitest';

import { workerDescriptor, workerLoad } from './worker-records.js';

/** A store's two doors, empty, and its time. */
export interface PortsUnderTest {
  readonly registry: RegistryPort & RouterRegistryPort;
  readonly ledger: LedgerPort;
  /** The same ledger in a router's name. */
  ledgerOf(router: ReservingRouter): LedgerPort;
  /** Lets at least so much of the store's time pass. */
  pass(ms: number): Promise<void>;
}

/** A router that registers again for nobody. */
const named = (identity: RouterIdentity): ReservingRouter => ({ run: (reserve) => reserve(identity) });

const refusedAs = (code: string): Error => expect.objectContaining({ code }) as Error;

/** What every `LedgerPort` does. */
export function ledgerConformance(make: () => Promise<PortsUnderTest>): void {
  let ports: PortsUnderTest;
  let epoch: number;
  const key = (leaseId = 'a', of = epoch) => ({ workerId: 'w1', epoch: of, leaseId });
  const sums = async () => {
    const { reservedPages, committedPages, leases } = (await ports.ledger.account('w1')) ?? {};
    return [reservedPages, committedPages, leases];
  };

  describe('a ledger', () => {
    beforeEach(async () => {
      ports = await make();
      const by = { instanceId: 'one', heldEpoch: 0 };
      ({ epoch } = await ports.registry.register(workerDescriptor('w1'), workerLoad(), by));
    });

    it('takes a lease from its reservation to its release, each verb once or twice', async () => {
      const { ledger } = ports;
      for (const [verb, expected] of [
        [() => ledger.reserve(key(), 10), [10, 0, 1]],
        [() => ledger.reserve(key(), 12), [12, 0, 1]],
        [() => ledger.commit(key(), 20), [0, 20, 1]],
        [() => ledger.reserve(key(), 30), [0, 20, 1]],
        [() => ledger.extend(key(), 50), [0, 50, 1]],
        [() => ledger.extend(key(), 5), [0, 5, 1]],
        [() => ledger.release(key()), [0, 0, 0]],
      ] as const) {
        await verb();
        await verb();
        expect(await sums()).toEqual(expected);
      }
    });

    it('never passes the capacity, and changes nothing then', async () => {
      const { ledger } = ports;
      await ledger.commit(key('a'), 60);
      await ledger.reserve(key('b'), 40);
      for (const verb of [
        () => ledger.reserve(key('c'), 1),
        () => ledger.commit(key('c'), 1),
        () => ledger.commit(key('b'), 41),
        () => ledger.extend(key('a'), 61),
      ]) {
        await expect(verb()).rejects.toThrow(refusedAs('NO_CAPACITY'));
        expect(await sums()).toEqual([40, 60, 2]);
      }
      await ledger.commit(key('b'), 40);
      await ledger.extend(key('a'), 60);
    });

    it('drops a reservation after its time, but not one that its worker commits late', async () => {
      const { ledger } = ports;
      await ledger.reserve(key('a'), 50, 20);
      await ledger.reserve(key('b'), 50, 20);
      await ports.pass(40);
      await ledger.commit(key('a'), 50);
      expect(await sums()).toEqual([0, 50, 1]);
      await ledger.reserve(key('c'), 50, 20);
      await ports.pass(40);
      await ports.registry.heartbeat(workerDescriptor('w1'), epoch, workerLoad());
      expect(await sums()).toEqual([0, 50, 1]);
    });

    it('commits a lease that it has lost, and extends none that is not committed', async () => {
      const { ledger } = ports;
      await ledger.commit(key('lost'), 7);
      await ledger.reserve(key('reserved'), 3);
      for (const leaseId of ['reserved', 'unknown'])
        await expect(ledger.extend(key(leaseId), 1)).rejects.toThrow(refusedAs('INTERNAL'));
      expect(await sums()).toEqual([3, 7, 2]);
    });

    it('brings no lease back that was given back, whatever comes late', async () => {
      const { ledger } = ports;
      await ledger.commit(key('a'), 10);
      for (const leaseId of ['a', 'unknown']) {
        await ledger.release(key(leaseId));
        await expect(ledger.commit(key(leaseId), 10)).rejects.toThrow(refusedAs('ABORTED'));
        await expect(ledger.reserve(key(leaseId), 10)).rejects.toThrow(refusedAs('ABORTED'));
      }
      expect(await sums()).toEqual([0, 0, 0]);
      await ledger.commit(key('b'), 100);
      expect(await sums()).toEqual([0, 100, 1]);
    });

    it('fences what an older epoch writes', async () => {
      const { ledger, registry } = ports;
      await ledger.commit(key('a'), 40);
      const old = epoch;
      const by = { instanceId: 'two', heldEpoch: 0 };
      ({ epoch } = await registry.register(workerDescriptor('w1'), workerLoad(), by));
      expect(await sums()).toEqual([0, 0, 0]);
      const stale = refusedAs('STALE_EPOCH');
      await expect(ledger.reserve(key('a', old), 1)).rejects.toThrow(stale);
      await expect(ledger.commit(key('a', old), 1)).rejects.toThrow(stale);
      await expect(ledger.extend(key('a', old), 1)).rejects.toThrow(stale);
      await ledger.commit(key('a'), 4);
      await ledger.release(key('a', old));
      expect(await sums()).toEqual([0, 4, 1]);
    });

    it('ends what an earlier epoch of a router has reserved when a later one comes, and refuses it from there on', async () => {
      const as = (routerId: string, routerEpoch: number) =>
        ports.ledgerOf(named({ routerId, epoch: routerEpoch }));
      const [old, young, other] = [as('a', 5), as('a', 6), as('b', 1)];
      await old.reserve(key('reserved'), 10);
      await old.reserve(key('running'), 20);
      await ports.ledger.commit(key('running'), 20);
      await other.reserve(key('other'), 5);
      expect(await sums()).toEqual([15, 20, 3]);
      await young.reserve(key('young'), 1);
      expect(await sums()).toEqual([6, 20, 3]);
      await expect(old.reserve(key('late'), 1)).rejects.toThrow(refusedAs('STALE_ROUTER'));
      await other.reserve(key('other'), 7);
      await young.reserve(key('young'), 2);
      expect(await sums()).toEqual([9, 20, 3]);
      // whoever reserved it, it is given back
      await old.release(key('running'));
      expect(await sums()).toEqual([9, 0, 2]);
    });

    it('drops with a heartbeat what routers have reserved that have gone, and nothing that runs', async () => {
      const { registry, ledger } = ports;
      const enlist = async (routerId: string, instanceId: string) => {
        const by = { instanceId, heldEpoch: 0, refusedEpoch: 0 };
        return { routerId, ...(await registry.registerRouter(routerId, by)) };
      };
      const [living, leaving, replaced] = [
        await enlist('living', 'one'),
        await enlist('leaving', 'two'),
        await enlist('replaced', 'three'),
      ];
      for (const router of [living, leaving, replaced]) {
        await ports.ledgerOf(named(router)).reserve(key(`${router.routerId}-1`), 10);
        await ports.ledgerOf(named(router)).reserve(key(`${router.routerId}-2`), 1);
        await ledger.commit(key(`${router.routerId}-2`), 1);
      }
      const beat = () => registry.heartbeat(workerDescriptor('w1'), epoch, workerLoad());
      await beat();
      expect(await sums()).toEqual([30, 3, 6]);
      await registry.deregisterRouter('leaving', leaving.epoch);
      const successor = await enlist('replaced', 'four');
      await beat();
      await beat();
      expect(await sums()).toEqual([10, 3, 4]);
      for (const router of [leaving, replaced])
        await expect(ports.ledgerOf(named(router)).reserve(key('late'), 1)).rejects.toThrow(
          refusedAs('STALE_ROUTER'),
        );
      await ports.ledgerOf(named(successor)).reserve(key('successor'), 1);
      await ports.ledgerOf(named(living)).reserve(key('living-1'), 11);
      expect(await sums()).toEqual([12, 3, 5]);
    });

    it('knows nothing of a worker that is not registered', async () => {
      const { ledger, registry } = ports;
      await registry.deregister('w1', epoch);
      const away = refusedAs('NO_WORKER');
      await expect(ledger.reserve(key(), 1)).rejects.toThrow(away);
      await expect(ledger.commit(key(), 1)).rejects.toThrow(away);
      await expect(ledger.extend(key(), 1)).rejects.toThrow(away);
      await ledger.release(key());
      expect(await ledger.account('w1')).toBeUndefined();
      expect(await ledger.account('unseen')).toBeUndefined();
    });
  });
}
