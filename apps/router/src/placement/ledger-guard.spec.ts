import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import type { LedgerPort } from '@kvcapsule/domain/ledger';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Ports } from '../ports.js';
import { LedgerGuard } from './ledger-guard.service.js';

const KEY = { workerId: 'w', epoch: 1, leaseId: 'l' };
const away = new KvcError('LEDGER_UNAVAILABLE', 'away');

/** Calls of the ledger, which a test answers when it likes. */
interface Call {
  readonly leaseId: string;
  readonly pages: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

let reserved: Call[];
let released: string[];
let guard: LedgerGuard;

beforeEach(() => {
  for (const level of ['log', 'warn'] as const) vi.spyOn(Logger.prototype, level).mockReturnValue();
  reserved = [];
  released = [];
  const ledger = {
    reserve: ({ leaseId }, pages) =>
      new Promise<void>((resolve, reject) => reserved.push({ leaseId, pages, resolve, reject })),
    release: ({ leaseId }) => Promise.resolve(void released.push(leaseId)),
  } as Pick<LedgerPort, 'reserve' | 'release'>;
  guard = new LedgerGuard({ ledger } as Ports);
});

afterEach(() => {
  guard.onApplicationShutdown();
  vi.restoreAllMocks();
});

const called = async (count: number): Promise<Call> => {
  await vi.waitFor(() => {
    expect(reserved.length).toBeGreaterThanOrEqual(count);
  }, 5_000);
  return reserved[count - 1]!;
};

describe('a reservation', () => {
  it.each([
    [undefined, 'reserved', false],
    [new KvcError('NO_CAPACITY', 'full'), 'refused', false],
    [new KvcError('STALE_EPOCH', 'older'), 'refused', false],
    [new KvcError('NO_WORKER', 'unknown'), 'forgotten', false],
    [away, 'away', true],
    [new KvcError('STALE_ROUTER', 'dead'), 'away', true],
  ] as const)('that the ledger answers with %s is %s', async (error, answer, opens) => {
    const asked = guard.reserve(KEY, 8);
    if (error) reserved[0]?.reject(error);
    else reserved[0]?.resolve();
    expect([await asked, guard.isOpen]).toEqual([answer, opens]);
    expect(released).toEqual(opens ? ['l'] : []);
  });

  it('without an answer in time is given back, and no other waits', async () => {
    expect(await guard.reserve(KEY, 8)).toBe('away');
    expect(released).toEqual(['l']);
    expect(await guard.reserve({ ...KEY, leaseId: 'm' }, 8)).toBe('away');
    expect(reserved.filter(({ pages }) => pages > 0).map(({ leaseId }) => leaseId)).toEqual(['l']);
  });

  it('whose answer lies unread while this process is busy is not late', async () => {
    const asked = guard.reserve(KEY, 8);
    setTimeout(() => {
      const endMs = performance.now() + 400;
      while (performance.now() < endMs);
      // as data of a socket: read once the loop comes to it
      setImmediate(() => reserved[0]?.resolve());
    }, 0);
    expect(await asked).toBe('reserved');
  });

  it('rejects with a fault of this program', async () => {
    const asked = guard.reserve(KEY, 8);
    reserved[0]?.reject(new KvcError('INTERNAL', 'broken'));
    await expect(asked).rejects.toThrow('broken');
    expect([guard.isOpen, released]).toEqual([false, ['l']]);
  });
});

describe('an open breaker', () => {
  it('is closed by a probe that is answered in time, of which there is one at a time', async () => {
    const asked = guard.reserve(KEY, 8);
    reserved[0]?.reject(away);
    await asked;
    const late = await called(2);
    expect(late.pages).toBe(0);
    await sleep(800);
    expect([reserved.length, guard.isOpen]).toEqual([2, true]);
    // an answer that comes so late tells that the ledger is slow
    late.resolve();
    const failing = await called(3);
    expect(guard.isOpen).toBe(true);
    failing.reject(away);
    const timely = await called(4);
    timely.resolve();
    await vi.waitFor(() => {
      expect(guard.isOpen).toBe(false);
    });
    expect(released).toEqual(['l', ...[late, failing, timely].map(({ leaseId }) => leaseId)]);
    void guard.reserve(KEY, 8);
    expect(reserved).toHaveLength(5);
  });

  it('is closed by a refusal too', async () => {
    const asked = guard.reserve(KEY, 8);
    reserved[0]?.reject(away);
    await asked;
    (await called(2)).reject(new KvcError('NO_WORKER', 'unknown'));
    await vi.waitFor(() => {
      expect(guard.isOpen).toBe(false);
    });
  });
});

describe('why requests go on without the ledger', () => {
  it('is what the last call met', async () => {
    expect(guard.fault).toBeUndefined();
    const asked = guard.reserve(KEY, 8);
    reserved[0]?.reject(new KvcError('LEDGER_UNAVAILABLE', 'this user may not'));
    await asked;
    expect(guard.fault).toBe('this user may not');
    const late = await called(2);
    await vi.waitFor(() => {
      expect(guard.fault).toBe('Redis does not answer in time');
    }, 5_000);
    late.resolve();
    (await called(3)).resolve();
    await vi.waitFor(() => {
      expect(guard.fault).toBeUndefined();
    }, 5_000);
  });
});

describe('giving back', () => {
  it('is left to the worker while the breaker is open', async () => {
    await guard.giveBack(KEY);
    expect(released).toEqual(['l']);
    const asked = guard.reserve(KEY, 8);
    reserved[0]?.reject(away);
    await asked;
    released.length = 0;
    await guard.giveBack(KEY);
    expect(released).toEqual([]);
  });
});
