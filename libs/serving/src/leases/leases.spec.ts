import type { Scheduler } from '@kvcapsule/domain/scheduling';
import { describe, expect, it } from 'vitest';

import type { LeaseEffect } from './lease-effects.js';
import { Leases } from './leases.js';

interface Holding {
  held: number;
  peak?: number;
  prefilling?: boolean;
}

/** Leases over requests that hold so many pages of a pool of 1,024; blocks of 8. */
function leasing(running: Record<string, Holding>, waiting: string[] = []) {
  const effects: LeaseEffect[] = [];
  const changed = [...Object.keys(running), ...waiting];
  const scheduler = {
    get running() {
      return Object.keys(running);
    },
    waiting,
    pool: { capacityPages: 1024 },
    takeChanged: () => changed.splice(0),
    pages: (id: string) => ({
      held: 0,
      peak: 0,
      prefilling: false,
      tokens: 0,
      running: id in running,
      ...running[id],
    }),
  } as unknown as Scheduler;
  const leases = new Leases(scheduler, 8, (effect) => effects.push(effect));
  const accept = (id: string, pages: number) => {
    leases.accept(id, { leaseId: `l${id}`, epoch: 1n, pages }, () => undefined);
    leases.accepted(id);
    effects.length = 0;
  };
  const asked = () =>
    effects.splice(0).map((effect) => ('pages' in effect ? [effect.id, effect.pages] : effect));
  /** The pages of a request have changed. */
  const change = (id: string, holding: Partial<Holding>) => {
    running[id] = { held: 0, ...running[id], ...holding };
    changed.push(id);
  };
  return { leases, effects, accept, asked, change, moved: (id: string) => changed.push(id) };
}

describe('Leases', () => {
  it('tell what became of taking one over, and give it back once', () => {
    const { leases, effects } = leasing({});
    const outcomes: unknown[] = [];
    const lease = { leaseId: 'l', epoch: 1n, pages: 8 };
    for (const id of ['a', 'b']) leases.accept(id, lease, (error) => outcomes.push(error));
    expect(effects).toEqual(['a', 'b'].map((id) => ({ kind: 'acceptLease', id, lease })));
    for (const id of ['a', 'a', 'none']) leases.accepted(id);
    leases.accepted('b', 'stale');
    expect(outcomes).toEqual([undefined, 'stale']);
    for (const id of ['a', 'a', 'b', 'c']) leases.release(id);
    leases.decline('never taken');
    expect(effects.slice(2)).toEqual([
      { kind: 'releaseLease', id: 'a' },
      { kind: 'declineLease', leaseId: 'never taken' },
    ]);
  });

  it('run ahead of what decoding requests hold, by four blocks and a share of the pool', () => {
    const { leases, accept, asked } = leasing({ a: { held: 16 }, b: { held: 16 } });
    accept('a', 16);
    accept('b', 24);
    leases.balance(0);
    // a sixteenth of 1,024 pages for two is 32, four blocks
    expect(asked()).toEqual([['a', 24 + 32]]);
    leases.resized('a', 'set', 0);
    leases.balance(0);
    expect(asked()).toEqual([]);
  });

  it('cover the peak of a prefill, and give back what compression made free', () => {
    const { leases, accept, asked, change } = leasing({ a: { held: 16, peak: 64, prefilling: true } });
    accept('a', 64);
    leases.balance(0);
    expect(asked()).toEqual([['a', 72 + 32]]);
    leases.resized('a', 'set', 0);
    change('a', { held: 8, prefilling: false });
    leases.balance(0);
    expect(asked()).toEqual([['a', 16 + 32]]);
  });

  it('ask for the least, then for what waiting requests give back, then rest', () => {
    const { leases, accept, asked } = leasing({ a: { held: 16 } }, ['w', 'x', 'none']);
    for (const [id, pages] of [
      ['a', 16],
      ['w', 8],
      ['x', 24],
    ] as const)
      accept(id, pages);
    leases.balance(0);
    expect(asked()).toEqual([['a', 56]]);
    leases.resized('a', 'refused', 1);
    expect(asked()).toEqual([['a', 24]]);
    leases.resized('a', 'refused', 2);
    expect(asked()).toEqual([
      ['w', 0],
      ['x', 0],
    ]);
    leases.resized('w', 'set', 3);
    // nothing before both have answered, and no other round
    leases.balance(3);
    expect(asked()).toEqual([]);
    leases.resized('x', 'set', 4);
    expect(asked()).toEqual([['a', 24]]);
    leases.resized('a', 'refused', 5);
    leases.balance(104);
    expect(asked()).toEqual([]);
    leases.balance(105);
    expect(asked()).toEqual([['a', 56]]);
  });

  it('go on to the next request after one that got what it asked for, or that nobody answers for', () => {
    const { leases, accept, asked } = leasing({ a: { held: 16 }, b: { held: 16 }, c: { held: 16 } });
    for (const id of ['a', 'b', 'c']) accept(id, 16);
    leases.balance(0);
    const slack = 16;
    expect(asked()).toEqual([['a', 24 + slack]]);
    leases.resized('a', 'set', 0);
    expect(asked()).toEqual([['b', 24 + slack]]);
    leases.resized('b', 'unknown', 0);
    expect(asked()).toEqual([['c', 24 + slack]]);
    leases.resized('c', 'refused', 0);
    leases.release('c');
    asked();
    leases.resized('c', 'set', 0);
    leases.balance(0);
    // of b nothing is known to have been set
    expect(asked()).toEqual([['b', 24 + slack]]);
  });

  it('go back when they are ahead by more than twice their slack, and not before', () => {
    const slack = 32;
    for (const [pages, expected] of [
      [24 + 2 * slack, []],
      [24 + 2 * slack + 1, [['a', 24 + slack]]],
    ] as const) {
      const { leases, accept, asked } = leasing({ a: { held: 16 } });
      accept('a', pages);
      leases.balance(0);
      expect(asked()).toEqual(expected);
    }
  });

  it('make room for others that begin, although their own requests hold what they did', () => {
    const { leases, accept, asked, change } = leasing({ a: { held: 16 } });
    accept('a', 24 + 32);
    leases.balance(0);
    expect(asked()).toEqual([]);
    // a sixteenth of 1,024 pages is a block for each of eight
    for (let at = 1; at < 8; at += 1) change(`without-${at}`, { held: 8 });
    leases.balance(0);
    expect(asked()).toEqual([['a', 24 + 8]]);
  });

  it('stay as they are for requests that wait, until the ledger refuses', () => {
    const { leases, accept, asked, moved } = leasing({ a: { held: 16 } }, ['w']);
    accept('a', 24);
    accept('w', 500);
    leases.balance(0);
    moved('w');
    leases.balance(0);
    expect(asked()).toEqual([]);
  });

  it('take an answer that nothing was asked for as none', () => {
    const { leases, accept, asked, change } = leasing({ a: { held: 16 }, b: { held: 16 } });
    for (const id of ['a', 'b']) accept(id, 16);
    leases.resized('a', 'set', 0);
    leases.balance(0);
    leases.resized('a', 'set', 0);
    leases.resized('a', 'set', 0);
    leases.resized('b', 'set', 0);
    expect(asked()).toEqual([
      ['a', 56],
      ['b', 56],
    ]);
    change('a', { held: 56 });
    leases.balance(0);
    expect(asked()).toEqual([['a', 64 + 32]]);
  });

  it('ask nothing for requests without a lease', () => {
    const { leases, asked } = leasing({ a: { held: 16 } });
    leases.balance(0);
    leases.resized('a', 'refused', 0);
    expect(asked()).toEqual([]);
  });
});
