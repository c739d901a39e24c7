import {
  MemoryLedger,
  MemoryRegistry,
  MemoryStore,
  workerDescriptor,
  workerLoad,
} from '@kvcapsule/testing/ports';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';

import { LeaseKeeper } from './lease-keeper.js';

const lines: string[] = [];

async function keeper() {
  lines.length = 0;
  const store = new MemoryStore();
  const registry = new MemoryRegistry(store);
  const register = async (instanceId = 'own', heldEpoch = 0) => {
    const by = { instanceId, heldEpoch };
    return (await registry.register(workerDescriptor('w'), workerLoad(), by)).epoch;
  };
  const state = { epoch: await register() };
  const logger = pino({}, { write: (line: string) => void lines.push(line) });
  const ledger = new MemoryLedger(store);
  const leases = new LeaseKeeper(ledger, () => ({ workerId: 'w', ...state }), logger);
  return { store, ledger, leases, state, register };
}

const lease = (leaseId: string, pages = 8, epoch = 1n) => ({ leaseId, epoch, pages });

describe('a lease accepted while the ledger is away', () => {
  it('is taken over with the next heartbeat', async () => {
    const { store, leases } = await keeper();
    store.away = true;
    await leases.accept('a', lease('l'));
    expect(store.leases.size).toBe(0);
    store.away = false;
    await leases.retry();
    expect(store.leases.get('l')).toEqual({ pages: 8, committed: true });
  });

  it('is taken over when it grows', async () => {
    const { store, leases } = await keeper();
    store.away = true;
    await leases.accept('a', lease('l'));
    store.away = false;
    expect(await leases.resize('a', 16)).toBe('set');
    expect(store.leases.get('l')).toEqual({ pages: 16, committed: true });
    await leases.release('a');
    expect(store.leases.size).toBe(0);
  });
});

describe('a write whose answer is lost', () => {
  it('is put right with the next heartbeat, whether it was carried out or not', async () => {
    const { store, leases } = await keeper();
    await leases.accept('a', lease('l'));
    store.losesAnswers = true;
    await leases.resize('a', 16);
    store.losesAnswers = false;
    expect(store.leases.get('l')?.pages).toBe(16);
    await leases.retry();
    expect(store.leases.get('l')?.pages).toBe(8);
  });

  it('leaves the same sums behind as one that is answered', async () => {
    const command = fc.record({
      verb: fc.constantFrom('accept', 'resize', 'resize', 'release', 'beat'),
      key: fc.constantFrom('a', 'b', 'c'),
      pages: fc.integer({ min: 0, max: 40 }),
      fault: fc.constantFrom('none', 'none', 'away', 'losesAnswers'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 40 }), async (commands) => {
        const { store, leases } = await keeper();
        /** Lease and pages by key: what was reserved, or last surely set. */
        const held = new Map<string, { leaseId: string; pages: number }>();
        for (const [index, { verb, key, pages, fault }] of commands.entries()) {
          if (fault !== 'none') store[fault] = true;
          const leaseId = `${key}${index}`;
          if (verb === 'accept' && !held.has(key))
            await leases.accept(key, lease(leaseId, pages)).then(
              () => held.set(key, { leaseId, pages }),
              () => undefined,
            );
          if (verb === 'resize' && (await leases.resize(key, pages)) === 'set')
            held.set(key, { leaseId: held.get(key)?.leaseId ?? '', pages });
          if (verb === 'release') await leases.release(key);
          if (verb === 'release') held.delete(key);
          if (verb === 'beat') await leases.retry();
          if (fault !== 'none') store[fault] = false;
        }
        // the first gives back, so that in the second everything fits
        await leases.retry();
        await leases.retry();
        const expected = [...held.values()].map(
          ({ leaseId, pages }) => [leaseId, { pages, committed: true }] as const,
        );
        expect(store.leases).toEqual(new Map(expected));
        for (const key of ['a', 'b', 'c']) await leases.release(key);
        expect(store.leases.size).toBe(0);
      }),
      { numRuns: 300, seed: 31 },
    );
  });
});

describe('a store that came back empty', () => {
  it('holds the same leases again after the registration', async () => {
    const { store, leases, state, register } = await keeper();
    for (const key of ['a', 'b']) await leases.accept(key, lease(key));
    store.forget();
    for (let i = 0; i < 52; i += 1) await leases.resize('a', 16 + i);
    state.epoch = await register('own', state.epoch);
    await leases.rebuild();
    expect(store.leases).toEqual(new Map(['a', 'b'].map((key) => [key, { pages: 8, committed: true }])));
    // what the heartbeat mends by itself is no line
    expect(lines).toEqual([]);
  });

  it('says once what fails over and over', async () => {
    const { leases, ledger } = await keeper();
    await leases.accept('a', lease('a'));
    vi.spyOn(ledger, 'extend').mockRejectedValue(new Error('broken'));
    vi.spyOn(ledger, 'commit').mockRejectedValue(new Error('broken'));
    for (let i = 0; i < 52; i += 1) await leases.resize('a', 16 + i);
    expect(lines).toHaveLength(1);
  });
});
