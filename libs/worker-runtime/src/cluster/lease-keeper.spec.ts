import {
  MemoryLedger,
  MemoryRegistry,
  MemoryStore,
  workerDescriptor,
  workerLoad,
} from '@kvcapsule/testing/ports';
import { LEASE_TTL_MS } from '@kvcapsule/domain/ledger';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';

import { LeaseKeeper } from './lease-keeper.js';

const CAPACITY = 100;
const lines: string[] = [];

async function keeper() {
  lines.length = 0;
  const store = new MemoryStore();
  const registry = new MemoryRegistry(store);
  const descriptor = workerDescriptor('w', { capacityPages: CAPACITY });
  const register = async (instanceId = 'own', heldEpoch = 0) => {
    const by = { instanceId, heldEpoch };
    return (await registry.register(descriptor, workerLoad(), by)).epoch;
  };
  const state = { epoch: await register() };
  const logger = pino({}, { write: (line: string) => void lines.push(line) });
  const ledger = new MemoryLedger(store);
  const givenBack = vi.fn();
  const forgotten = vi.fn();
  const freed = vi.fn();
  const identity = () => ({ workerId: 'w', ...state });
  const leases = new LeaseKeeper({
    ...{ ledger, identity, capacityPages: CAPACITY, givenBack, forgotten, freed, logger },
  });
  await leases.rebuild();
  /** As the registration does with each heartbeat. */
  const beat = async (): Promise<void> => {
    try {
      await registry.heartbeat(descriptor, state.epoch, workerLoad());
      await leases.retry();
    } catch {
      if (store.away) return;
      await register('own', state.epoch).then(
        async (epoch) => {
          state.epoch = epoch;
          await leases.rebuild();
        },
        () => undefined,
      );
    }
  };
  return { store, ledger, leases, state, register, beat, givenBack, forgotten, freed };
}

/** Until everything that was begun has been answered: the store in memory takes microtasks alone. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

const lease = (leaseId: string, pages = 8, epoch = 1n) => ({ leaseId, epoch, pages });
const provisional = (leaseId: string, pages = 8) => ({ ...lease(leaseId, pages), provisional: true });

describe('a lease', () => {
  it('is taken on before the ledger has answered', async () => {
    const { ledger, leases } = await keeper();
    const answer = Promise.withResolvers<void>();
    const commit = vi.spyOn(ledger, 'commit').mockReturnValue(answer.promise);
    await leases.accept('a', lease('l'));
    await settle();
    expect(commit).toHaveBeenCalledOnce();
    answer.resolve();
  });

  it.each([lease, provisional])('is refused where what was taken on leaves too little room', async (of) => {
    const { leases } = await keeper();
    await leases.accept('a', of('a', 60));
    await expect(leases.accept('b', of('b', 41))).rejects.toMatchObject({ code: 'NO_CAPACITY' });
    await leases.accept('c', of('c', 40));
    expect(await leases.resize('c', 41)).toBe('refused');
    await leases.release('a');
    expect(await leases.resize('c', 41)).toBe('set');
    await leases.accept('b', of('b', 59));
  });

  it('says when the ledger has pages back, and only then', async () => {
    const { store, leases, freed } = await keeper();
    await leases.accept('a', lease('a', 20));
    await settle();
    for (const [pages, times] of [
      [30, 0],
      [25, 1],
    ] as const) {
      await leases.resize('a', pages);
      expect(freed).toHaveBeenCalledTimes(times);
    }
    await leases.release('a');
    await leases.decline('b');
    expect(freed).toHaveBeenCalledTimes(3);
    store.away = true;
    await leases.decline('c');
    expect(freed).toHaveBeenCalledTimes(3);
  });

  it('is refused while the ledger is asked for the pages that it would need', async () => {
    const { ledger, leases } = await keeper();
    await leases.accept('a', lease('a', 50));
    await settle();
    const answer = Promise.withResolvers<void>();
    vi.spyOn(ledger, 'extend').mockReturnValue(answer.promise);
    const resized = leases.resize('a', 90);
    await expect(leases.accept('b', lease('b', 20))).rejects.toMatchObject({ code: 'NO_CAPACITY' });
    answer.resolve();
    expect(await resized).toBe('set');
  });

  it('of another process is refused, one of an earlier epoch of this process is not', async () => {
    const { leases, state, register } = await keeper();
    await expect(leases.accept('a', lease('l', 8, 7n))).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    state.epoch = await register('elsewhere');
    await leases.rebuild();
    expect(state.epoch).toBe(2);
    await leases.accept('a', lease('l', 8, 1n));
  });

  it('that its router has given back ends its request', async () => {
    const { ledger, leases, givenBack } = await keeper();
    await ledger.release({ workerId: 'w', epoch: 1, leaseId: 'l' });
    await leases.accept('a', lease('l'));
    await settle();
    expect(givenBack).toHaveBeenCalledExactlyOnceWith('a', expect.objectContaining({ code: 'ABORTED' }));
    expect(lines).toEqual([]);
  });
});

describe('while the ledger is away', () => {
  it('a lease is taken on, and entered with the next heartbeat', async () => {
    const { store, leases } = await keeper();
    store.away = true;
    await leases.accept('a', provisional('l'));
    await settle();
    expect(store.leases.size).toBe(0);
    store.away = false;
    await leases.retry();
    expect(store.leases.get('l')).toEqual({ pages: 8, committed: true });
  });

  it('a lease grows and shrinks in the worker’s own account', async () => {
    const { store, leases } = await keeper();
    store.away = true;
    await leases.accept('a', provisional('l', 8));
    expect(await leases.resize('a', 80)).toBe('set');
    await expect(leases.accept('b', provisional('m', 21))).rejects.toMatchObject({ code: 'NO_CAPACITY' });
    expect(await leases.resize('a', 16)).toBe('set');
    await leases.accept('b', provisional('m', 21));
    store.away = false;
    await leases.retry();
    expect([...store.leases.values()].map(({ pages }) => pages)).toEqual([16, 21]);
  });

  it('one write finds that out, and the others wait for a heartbeat', async () => {
    const { store, leases, ledger } = await keeper();
    await leases.accept('known', lease('known'));
    await settle();
    store.away = true;
    const asked = [vi.spyOn(ledger, 'commit'), vi.spyOn(ledger, 'extend'), vi.spyOn(ledger, 'release')];
    await leases.accept('a', provisional('a'));
    await settle();
    for (let pages = 9; pages < 20; pages += 1) await leases.resize('a', pages);
    for (const key of ['a', 'known']) await leases.release(key);
    expect(asked.map(({ mock }) => mock.calls.length)).toEqual([1, 0, 0]);
    store.away = false;
    await leases.retry();
    expect(store.leases.size).toBe(0);
  });

  it('what the ledger never heard of need not be given back', async () => {
    const { store, leases, ledger } = await keeper();
    store.away = true;
    await leases.accept('first', provisional('first'));
    await settle();
    await leases.accept('a', provisional('a'));
    await leases.release('a');
    store.away = false;
    const release = vi.spyOn(ledger, 'release');
    await leases.retry();
    expect(release).not.toHaveBeenCalled();
  });

  it('a worker that the store has forgotten asks to be registered, once', async () => {
    const { store, leases, forgotten } = await keeper();
    store.forget();
    for (const key of ['a', 'b', 'c']) await leases.accept(key, provisional(key));
    await settle();
    expect(forgotten).toHaveBeenCalledOnce();
  });
});

describe('a write whose answer is lost', () => {
  it('is put right with the next heartbeat, whether it was carried out or not', async () => {
    const { store, leases } = await keeper();
    await leases.accept('a', lease('l'));
    await settle();
    store.losesAnswers = true;
    await leases.resize('a', 16);
    await leases.resize('a', 12);
    store.losesAnswers = false;
    expect(store.leases.get('l')?.pages).toBe(16);
    await leases.retry();
    expect(store.leases.get('l')?.pages).toBe(12);
  });
});

/** What routers, a worker and the store do, in any order. */
const command = fc.record({
  verb: fc.constantFrom('reserve', 'reserve', 'arrive', 'arrive', 'resize', 'release', 'beat', 'lose'),
  /** Of what is there, which. */
  which: fc.nat(20),
  pages: fc.integer({ min: 0, max: 60 }),
  fault: fc.constantFrom('none', 'none', 'none', 'away', 'losesAnswers'),
  /** A fault goes on until another command has none. */
  answered: fc.boolean(),
});

interface Reservation {
  readonly key: string;
  readonly lease: ReturnType<typeof lease> & { readonly provisional: boolean };
}

/** Several routers that reserve in the ledger, or provisionally where it does not answer, before one worker. */
class Scene {
  /** Reserved, and not at the worker yet. */
  readonly #underway: Reservation[] = [];
  readonly #held = new Map<string, { readonly leaseId: string; pages: number }>();
  #count = 0;

  constructor(private readonly parts: Awaited<ReturnType<typeof keeper>>) {}

  get pages(): number {
    return [...this.#held.values()].reduce((sum, { pages }) => sum + pages, 0);
  }

  get expected() {
    return new Map(
      [...this.#held.values()].map(({ leaseId, pages }) => [leaseId, { pages, committed: true }]),
    );
  }

  async run(verb: string, which: number, pages: number): Promise<void> {
    const key = [...this.#held.keys()][which % Math.max(1, this.#held.size)] ?? '';
    if (verb === 'reserve') await this.#reserve(pages);
    else if (verb === 'arrive') await this.#arrive(which);
    else if (verb === 'beat') await this.parts.beat();
    else if (verb === 'lose') this.parts.store.forget();
    else if (verb === 'release') await this.#release(key);
    else if ((await this.parts.leases.resize(key, pages)) === 'set') this.#held.get(key)!.pages = pages;
    await settle();
  }

  async end(): Promise<void> {
    for (const key of [...this.#held.keys()]) await this.#release(key);
  }

  /** A router knows the worker by its epoch, and takes a new lease where the ledger does not answer. */
  async #reserve(pages: number): Promise<void> {
    const { ledger, state } = this.parts;
    this.#count += 1;
    const of = (leaseId: string, isProvisional: boolean) => {
      const key = String(this.#count);
      const reserved = { leaseId, pages, epoch: BigInt(state.epoch), provisional: isProvisional };
      this.#underway.push({ key, lease: reserved });
    };
    const asked = { workerId: 'w', epoch: state.epoch, leaseId: `ledger ${this.#count}` };
    try {
      await ledger.reserve(asked, pages);
      of(asked.leaseId, false);
    } catch (error) {
      if ((error as { code: string }).code === 'NO_CAPACITY') return;
      void ledger.release(asked).catch(() => undefined);
      of(`provisional ${this.#count}`, true);
    }
  }

  async #arrive(which: number): Promise<void> {
    const [arrived] = this.#underway.splice(which % Math.max(1, this.#underway.length), 1);
    if (!arrived) return;
    const { key, lease: taken } = arrived;
    const { leaseId, pages } = taken;
    const fits = this.pages + pages <= CAPACITY || pages === 0;
    const accepted = await this.parts.leases.accept(key, taken).then(
      () => true,
      () => false,
    );
    expect(accepted).toBe(fits);
    if (accepted) this.#held.set(key, { leaseId, pages });
    else await this.parts.leases.decline(leaseId);
  }

  async #release(key: string): Promise<void> {
    this.#held.delete(key);
    await this.parts.leases.release(key);
  }
}

describe('a worker before several routers', () => {
  it('never takes on more than it has, and the ledger has the same once it answers again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 60 }), async (commands) => {
        const parts = await keeper();
        const { store, beat } = parts;
        const scene = new Scene(parts);
        for (const { verb, which, pages, fault, answered } of commands) {
          if (fault === 'none') store.away = store.losesAnswers = false;
          else store[fault] = true;
          await scene.run(verb, which, pages);
          expect(scene.pages).toBeLessThanOrEqual(CAPACITY);
          expect(store.leasedPages).toBeLessThanOrEqual(CAPACITY);
          if (answered) store.away = store.losesAnswers = false;
        }
        store.away = store.losesAnswers = false;
        // whoever has reserved and does not come any more is dropped
        await beat();
        store.nowMs += LEASE_TTL_MS / 2;
        await beat();
        store.nowMs += LEASE_TTL_MS / 2;
        await beat();
        await beat();
        expect(store.leases).toEqual(scene.expected);
        await scene.end();
        expect(store.leases.size).toBe(0);
        expect(lines).toEqual([]);
      }),
      { numRuns: 500, seed: 31 },
    );
  });
});

describe('a store that came back empty', () => {
  it('holds the same leases again after the registration', async () => {
    const { store, leases, state, register } = await keeper();
    for (const key of ['a', 'b']) await leases.accept(key, lease(key));
    await settle();
    store.forget();
    for (let i = 0; i < 52; i += 1) await leases.resize('a', 16 + i);
    state.epoch = await register('own', state.epoch);
    await leases.rebuild();
    expect([...store.leases]).toEqual([
      ['a', { pages: 67, committed: true }],
      ['b', { pages: 8, committed: true }],
    ]);
    // what the heartbeat mends by itself is no line
    expect(lines).toEqual([]);
  });

  it('says once what fails over and over', async () => {
    const { leases, ledger } = await keeper();
    vi.spyOn(ledger, 'extend').mockRejectedValue(new Error('broken'));
    vi.spyOn(ledger, 'commit').mockRejectedValue(new Error('broken'));
    await leases.accept('a', lease('a'));
    await settle();
    lines.length = 0;
    for (let i = 0; i < 52; i += 1) await leases.resize('a', 16 + i);
    expect(lines).toHaveLength(1);
  });
});
