import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { HEARTBEAT_TTL_MS } from '../registry/index.js';
import { MOST_RELEASED, RELEASED_TTL_MS, type RouterIdentity } from './ledger.port.js';
import { refusalError } from './refusals.js';
import { EPOCH_TTL_MS, WorkerLedger } from './worker-ledger.js';

const CAPACITY = 100;
const by = (instanceId: string, heldEpoch = 0) => ({ instanceId, heldEpoch });

function registered(nowMs = 1_000): { ledger: WorkerLedger; epoch: number } {
  const ledger = new WorkerLedger();
  const epoch = ledger.register(by('one'), CAPACITY, nowMs);
  if (typeof epoch === 'string') throw new Error(epoch);
  return { ledger, epoch };
}

const held = (ledger: WorkerLedger) => [...ledger.leases()];

interface Command {
  readonly verb:
    'register' | 'heartbeat' | 'deregister' | 'reserve' | 'commit' | 'extend' | 'release' | 'fence';
  readonly instance: string;
  readonly stale: boolean;
  readonly leaseId: string;
  readonly pages: number;
  readonly ttlMs: number;
  readonly passMs: number;
  readonly router: RouterIdentity | undefined;
}

const command: fc.Arbitrary<Command> = fc.record({
  verb: fc.constantFrom(
    ...(['register', 'heartbeat', 'heartbeat', 'deregister'] as const),
    ...([
      'reserve',
      'reserve',
      'reserve',
      'commit',
      'commit',
      'extend',
      'extend',
      'release',
      'fence',
    ] as const),
  ),
  instance: fc.constantFrom('one', 'one', 'two'),
  stale: fc.nat(9).map((one) => one === 0),
  leaseId: fc.constantFrom(...'abcdef'),
  pages: fc.integer({ min: 0, max: 60 }),
  ttlMs: fc.integer({ min: 1, max: 3_000 }),
  passMs: fc.constantFrom(0, 0, 1, 500, HEARTBEAT_TTL_MS),
  router: fc.option(
    fc.record({ routerId: fc.constantFrom('a', 'b'), epoch: fc.integer({ min: 1, max: 4 }) }),
    { nil: undefined },
  ),
});

/** Carries a command out; its answer. */
function carryOut(ledger: WorkerLedger, command: Command, epoch: number, nowMs: number): unknown {
  const { verb, instance, leaseId, pages, ttlMs } = command;
  const at = command.stale ? epoch - 1 : epoch;
  switch (verb) {
    case 'register':
      return ledger.register(by(instance, at), CAPACITY, nowMs);
    case 'heartbeat':
    case 'deregister':
      return ledger[verb](at, nowMs);
    case 'reserve':
      return ledger.reserve(at, leaseId, pages, ttlMs, nowMs, command.router);
    case 'fence':
      return ledger.fence(at, command.router ? [command.router] : [], nowMs);
    case 'commit':
    case 'extend':
      return ledger[verb](at, leaseId, pages, nowMs);
    case 'release':
      return ledger.release(at, leaseId, nowMs);
  }
}

describe('a worker’s ledger', () => {
  it('keeps its sums, its capacity and its epochs, and a verb sent twice changes nothing more', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
        const { ledger, epoch: first } = registered();
        let epoch = first;
        let nowMs = 1_000;
        for (const next of commands) {
          nowMs += next.passMs;
          const before = held(ledger);
          const answer = carryOut(ledger, next, epoch, nowMs);
          const after = held(ledger);
          if (next.verb === 'register' && typeof answer === 'number') {
            expect(answer).toBeGreaterThanOrEqual(epoch);
            if (answer > epoch) expect(after).toEqual([]);
            epoch = answer;
          } else if (next.stale) expect(after).toEqual(before);
          expect(carryOut(ledger, next, epoch, nowMs)).toEqual(answer);
          expect(held(ledger)).toEqual(after);
          if (next.verb === 'fence' || (next.verb === 'reserve' && answer === 'STALE_ROUTER'))
            expect(after.filter(({ committed }) => committed)).toEqual(
              before.filter(({ committed }) => committed),
            );
          for (const { committed, router } of after) {
            const gone = next.verb === 'fence' && !answer ? next.router : undefined;
            if (gone && !committed && router?.routerId === gone.routerId)
              expect(router.epoch).toBeGreaterThan(gone.epoch);
          }
          const epochs = ledger.reservers().map(({ routerId }) => routerId);
          expect(new Set(epochs).size).toBe(epochs.length);
          const account = ledger.account(nowMs);
          if (!account) continue;
          const sum = (committed: boolean) =>
            after.filter((one) => one.committed === committed).reduce((pages, one) => pages + one.pages, 0);
          expect(account).toEqual({
            ...{ epoch, capacityPages: CAPACITY, leases: after.length },
            ...{ reservedPages: sum(false), committedPages: sum(true) },
          });
          expect(sum(false) + sum(true)).toBeLessThanOrEqual(CAPACITY);
        }
      }),
      { numRuns: 500, seed: 12 },
    );
  });

  it('refuses what an earlier epoch of a router reserves, for as long as anything travels, and keeps what is committed', () => {
    const { ledger, epoch } = registered(0);
    const as = (routerEpoch: number) => ({ routerId: 'a', epoch: routerEpoch });
    const reserve = (leaseId: string, routerEpoch: number, nowMs = 0) =>
      ledger.reserve(epoch, leaseId, 1, 10 * RELEASED_TTL_MS, nowMs, as(routerEpoch));
    expect([reserve('a', 5), reserve('b', 5), ledger.commit(epoch, 'b', 2, 0)]).toEqual(
      new Array(3).fill(undefined),
    );
    expect(ledger.reservers()).toEqual([as(5)]);
    expect([ledger.fence(epoch - 1, [as(5)], 0), held(ledger).length]).toEqual(['STALE_EPOCH', 2]);
    expect(ledger.fence(epoch, [as(5)], 0)).toBeUndefined();
    expect(held(ledger)).toEqual([{ leaseId: 'b', pages: 2, committed: true, router: as(5) }]);
    expect([reserve('c', 5), reserve('c', 6)]).toEqual(['STALE_ROUTER', undefined]);
    for (let nowMs = 0; nowMs < RELEASED_TTL_MS; nowMs += 5_000) ledger.heartbeat(epoch, nowMs);
    expect(reserve('d', 5, RELEASED_TTL_MS - 1)).toBe('STALE_ROUTER');
    expect(reserve('d', 5, RELEASED_TTL_MS)).toBeUndefined();
  });

  it('takes the time for its epoch, or one more than the last where that is larger', () => {
    const { ledger, epoch } = registered(5_000);
    expect(epoch).toBe(5_000);
    expect(ledger.register(by('two'), CAPACITY, 5_000)).toBe(5_001);
    expect(ledger.register(by('three'), CAPACITY, 9_000)).toBe(9_000);
  });

  it('lives as long as its heartbeats, and its epoch a day longer', () => {
    const { ledger, epoch } = registered(0);
    expect(ledger.heartbeat(epoch, HEARTBEAT_TTL_MS - 1)).toBeUndefined();
    const endMs = 2 * HEARTBEAT_TTL_MS - 1;
    expect([ledger.isAlive(endMs - 1), ledger.isAlive(endMs)]).toEqual([true, false]);
    expect(ledger.heartbeat(epoch, endMs)).toBe('NO_WORKER');
    expect(ledger.heartbeat(epoch - 1, endMs)).toBe('STALE_EPOCH');
    const forgottenMs = HEARTBEAT_TTL_MS - 1 + EPOCH_TTL_MS;
    expect(ledger.heartbeat(epoch - 1, forgottenMs - 1)).toBe('STALE_EPOCH');
    expect(ledger.heartbeat(epoch - 1, forgottenMs)).toBe('NO_WORKER');
  });

  it('drops a reservation at its deadline, not before, and never a committed lease', () => {
    const { ledger, epoch } = registered(0);
    ledger.reserve(epoch, 'a', 10, 100, 0);
    ledger.commit(epoch, 'b', 20, 0);
    ledger.heartbeat(epoch, 99);
    expect(held(ledger)).toHaveLength(2);
    ledger.heartbeat(epoch, 100);
    expect(held(ledger)).toEqual([{ leaseId: 'b', pages: 20, committed: true }]);
  });

  it('brings no lease back that was given back, known or not, until nothing can come late any more', () => {
    const { ledger, epoch } = registered(0);
    ledger.commit(epoch, 'a', 10, 0);
    for (const id of ['a', 'b']) ledger.release(epoch, id, 0);
    const late = (id: string, nowMs: number) => [
      ledger.commit(epoch, id, 10, nowMs),
      ledger.reserve(epoch, id, 10, 100, nowMs),
    ];
    for (const id of ['a', 'b']) expect(late(id, HEARTBEAT_TTL_MS - 1)).toEqual(['RELEASED', 'RELEASED']);
    expect(held(ledger)).toEqual([]);
    expect(ledger.extend(epoch, 'a', 10, 1)).toBe('NOT_COMMITTED');
    for (let nowMs = 0; nowMs < RELEASED_TTL_MS; nowMs += 5_000) ledger.heartbeat(epoch, nowMs);
    expect(late('a', RELEASED_TTL_MS - 1)).toEqual(['RELEASED', 'RELEASED']);
    expect(late('a', RELEASED_TTL_MS)).toEqual([undefined, undefined]);
  });

  it('remembers so many at most, the latest, and those of its own epoch alone', () => {
    const { ledger, epoch } = registered(0);
    for (let index = 0; index <= MOST_RELEASED; index += 1) ledger.release(epoch, `id-${index}`, 0);
    expect(ledger.commit(epoch, 'id-0', 1, 0)).toBeUndefined();
    expect(ledger.commit(epoch, 'id-1', 1, 0)).toBe('RELEASED');
    const next = Number(ledger.register(by('two'), CAPACITY, 1));
    expect(ledger.commit(next, 'id-1', 1, 1)).toBeUndefined();
  });

  it('remembers best what was given back last, also when it was given back before', () => {
    const { ledger, epoch } = registered(0);
    const ids = Array.from({ length: MOST_RELEASED }, (_, index) => `id-${index}`);
    for (const id of [...ids, 'id-0', 'one more']) ledger.release(epoch, id, 0);
    expect(ledger.commit(epoch, 'id-0', 1, 0)).toBe('RELEASED');
    expect(ledger.commit(epoch, 'id-1', 1, 0)).toBeUndefined();
  });

  it('gives a process that asks again its own epoch while its record lives, and leaves its leases', () => {
    const { ledger, epoch } = registered(0);
    ledger.commit(epoch, 'a', 10, 0);
    expect(ledger.register(by('one'), 1, HEARTBEAT_TTL_MS - 1)).toBe(epoch);
    expect(ledger.account(HEARTBEAT_TTL_MS)).toMatchObject({ capacityPages: CAPACITY, committedPages: 10 });
  });

  it.each([0, 5])(
    'lets a process come whose own epoch is %i later than what the store remembers',
    (later) => {
      const { ledger, epoch } = registered(10);
      expect(ledger.register(by('two', epoch + later), CAPACITY, 20)).toBe(20);
    },
  );

  it('lets only a process come that knows of no other since its own epoch', () => {
    const { ledger, epoch } = registered(0);
    const young = ledger.register(by('two'), CAPACITY, 10);
    expect(ledger.register(by('one', epoch), CAPACITY, 20)).toBe('STALE_EPOCH');
    // a day later nobody remembers the other one
    expect(ledger.register(by('one', epoch), CAPACITY, 10 + EPOCH_TTL_MS)).toBe(10 + EPOCH_TTL_MS);
    expect(young).toBe(10);
  });

  it('is nobody’s before a worker registers, and says so', () => {
    const ledger = new WorkerLedger();
    expect([ledger.isAlive(0), ledger.account(0), ledger.deregister(1, 0)]).toEqual([
      false,
      undefined,
      undefined,
    ]);
    expect(ledger.reserve(0, 'a', 1, 100, 0)).toBe('NO_WORKER');
  });

  it('ends with its worker, which only its own epoch can say', () => {
    const { ledger, epoch } = registered(5);
    ledger.commit(epoch, 'a', 10, 5);
    expect([ledger.deregister(epoch - 1, 6), held(ledger).length]).toEqual(['STALE_EPOCH', 1]);
    expect(ledger.deregister(epoch, 6)).toBeUndefined();
    expect([ledger.isAlive(6), ledger.account(6), held(ledger)]).toEqual([false, undefined, []]);
    expect(ledger.heartbeat(epoch, 6)).toBe('NO_WORKER');
    expect(ledger.register(by('two'), CAPACITY, 5)).toBe(epoch + 1);
  });

  it('has no account once its heartbeats have ended', () => {
    const { ledger } = registered(0);
    expect(ledger.account(HEARTBEAT_TTL_MS - 1)).toBeDefined();
    expect(ledger.account(HEARTBEAT_TTL_MS)).toBeUndefined();
  });

  it.each(['reserve', 'commit', 'extend'] as const)(
    'has room for %s where a reservation has expired',
    (verb) => {
      const { ledger, epoch } = registered(0);
      ledger.commit(epoch, 'a', 20, 0);
      ledger.reserve(epoch, 'late', 80, 100, 0);
      const grow = (nowMs: number) =>
        verb === 'reserve'
          ? ledger.reserve(epoch, 'b', 80, 100, nowMs)
          : ledger[verb](epoch, 'a', 100, nowMs);
      expect([grow(99), grow(100)]).toEqual(['NO_CAPACITY', undefined]);
      expect(held(ledger).map(({ leaseId }) => leaseId)).toEqual(verb === 'reserve' ? ['a', 'b'] : ['a']);
    },
  );

  it('gives its last page, and none beyond', () => {
    const { ledger, epoch } = registered(0);
    expect(ledger.reserve(epoch, 'a', CAPACITY + 1, 100, 0)).toBe('NO_CAPACITY');
    expect(ledger.reserve(epoch, 'a', CAPACITY, 100, 0)).toBeUndefined();
    expect(ledger.reserve(epoch, 'b', 1, 100, 0)).toBe('NO_CAPACITY');
    expect(held(ledger)).toEqual([{ leaseId: 'a', pages: CAPACITY, committed: false }]);
  });

  it('renews a reservation, and leaves a committed lease to its worker', () => {
    const { ledger, epoch } = registered(0);
    ledger.reserve(epoch, 'a', 10, 100, 0);
    ledger.reserve(epoch, 'a', 20, 100, 50);
    ledger.heartbeat(epoch, 100);
    expect(held(ledger)).toEqual([{ leaseId: 'a', pages: 20, committed: false }]);
    ledger.commit(epoch, 'a', 30, 120);
    expect(ledger.reserve(epoch, 'a', 10, 100, 130)).toBeUndefined();
    expect(held(ledger)).toEqual([{ leaseId: 'a', pages: 30, committed: true }]);
  });

  it('extends what is committed, and brings nothing back that was released', () => {
    const { ledger, epoch } = registered(5);
    ledger.reserve(epoch, 'a', 10, 100, 5);
    expect(ledger.extend(epoch, 'a', 20, 5)).toBe('NOT_COMMITTED');
    ledger.commit(epoch, 'a', 10, 5);
    expect(ledger.extend(epoch - 1, 'a', 20, 5)).toBe('STALE_EPOCH');
    expect(ledger.extend(epoch, 'a', 20, 5)).toBeUndefined();
    expect(held(ledger)).toEqual([{ leaseId: 'a', pages: 20, committed: true }]);
    ledger.release(epoch - 1, 'a', 5);
    expect(held(ledger)).toHaveLength(1);
    ledger.release(epoch, 'a', 5);
    expect([ledger.extend(epoch, 'a', 20, 5), held(ledger)]).toEqual(['NOT_COMMITTED', []]);
  });
});

describe('a refusal', () => {
  it.each([
    ['NO_WORKER', 'NO_WORKER', undefined],
    ['STALE_EPOCH', 'STALE_EPOCH', undefined],
    ['NO_CAPACITY', 'NO_CAPACITY', 1_000],
    ['NOT_COMMITTED', 'INTERNAL', undefined],
    ['RELEASED', 'ABORTED', undefined],
  ] as const)('%s is told as %s, with the worker’s name', (refusal, code, retryAfterMs) => {
    const error = refusalError(refusal, 'w7');
    expect(error).toMatchObject({ code, retryAfterMs });
    expect(error.message).toContain('w7');
  });
});
