import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { MemoryStore } from '../testing/memory-ports.js';
import { LeaseKeeper } from './lease-keeper.js';

async function keeper(): Promise<{ store: MemoryStore; leases: LeaseKeeper }> {
  const store = new MemoryStore();
  const load = { state: 'ready', running: 0, waiting: 0, freePages: 100 } as const;
  const { epoch } = await store.register({ workerId: 'w' } as Parameters<MemoryStore['register']>[0], load);
  return {
    store,
    leases: new LeaseKeeper(store, () => ({ workerId: 'w', epoch }), pino({ enabled: false })),
  };
}

describe('a lease accepted while the ledger is away', () => {
  it('is taken over with the next heartbeat', async () => {
    const { store, leases } = await keeper();
    store.away = true;
    await leases.accept('a', { leaseId: 'l', epoch: 1n, pages: 8 });
    expect(store.leases.size).toBe(0);
    store.away = false;
    await leases.retry();
    expect(store.leases.get('l')).toEqual({ pages: 8, committed: true });
  });

  it('is taken over when it grows', async () => {
    const { store, leases } = await keeper();
    store.away = true;
    await leases.accept('a', { leaseId: 'l', epoch: 1n, pages: 8 });
    store.away = false;
    expect(await leases.resize('a', 16)).toBe('set');
    expect(store.leases.get('l')).toEqual({ pages: 16, committed: true });
    await leases.release('a');
    expect(store.leases.size).toBe(0);
  });
});
