import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { contentOf } from '../../testing/policy-driver.js';
import { Lru } from '../lru/lru.js';
import { EVICTION_POLICIES, type EvictionPolicyName } from '../policies.js';
import { RebuildCosts } from '../rebuild-costs.js';
import { Coordinated } from './coordinated.js';
import type { Owned } from './owned.js';

const ownedOf = (serial: number, tenant = 'a', pages = 1, weight = 1): Owned => {
  const name = `${serial}`.padStart(64, '0');
  return { ...contentOf(serial, { name, pages }), tenant, weight };
};

/** A pool of 100 pages in which all is idle. */
class Pool {
  readonly policy: Coordinated<Owned>;
  readonly idle = new Set<Owned>();

  constructor(name: EvictionPolicyName = 'lru', guaranteed = 0.5) {
    const policy = name === 'lru' ? new Lru<Owned>() : EVICTION_POLICIES[name]<Owned>(new RebuildCosts().of);
    this.policy = new Coordinated<Owned>(policy, { capacityPages: 100, guaranteed });
  }

  keep(...contents: readonly Owned[]): this {
    for (const content of contents) {
      this.policy.insert(content);
      this.policy.leave(content);
      this.policy.offer(content);
      this.idle.add(content);
    }
    return this;
  }

  evict(): Owned | undefined {
    const content = this.policy.victim();
    if (!content) return undefined;
    this.policy.evict(content);
    this.idle.delete(content);
    return content;
  }

  evictSerials(count: number): (number | undefined)[] {
    return Array.from({ length: count }, () => this.evict()?.serial);
  }
}

const range = (count: number, from = 0) => Array.from({ length: count }, (_, at) => from + at);
const known = (...serials: number[]) => serials.map((serial) => `${serial}`.padStart(64, '0').slice(0, 32));

describe('Coordinated', () => {
  it('is its policy’s own order with one tenant and without advice', () => {
    const pool = new Pool().keep(...range(20).map((serial) => ownedOf(serial)));
    expect(pool.evictSerials(21)).toEqual([...range(20), undefined]);
  });

  it('takes copies before last copies, but only among what goes soon', () => {
    const pool = new Pool().keep(
      ...range(20).map((serial) => ({ ...ownedOf(serial), name: `${serial}`.padEnd(64, '-') })),
    );
    pool.policy.advise(['3', '5', '15'].map((name) => name.padEnd(32, '-')));
    expect(pool.evictSerials(6)).toEqual([3, 5, 0, 1, 2, 4]);
    pool.policy.advise([]);
    expect(pool.evictSerials(3)).toEqual([6, 7, 8]);
  });

  it('takes of tenants above their share first', () => {
    // a share is fifty
    const pool = new Pool('lru', 0).keep(ownedOf(0, 'small'), ownedOf(1, 'large', 60), ownedOf(2, 'large'));
    expect(pool.evictSerials(3)).toEqual([1, 0, 2]);
  });

  it('takes shares by weight, the newest that each tenant has told', () => {
    // of a hundred pages four fifths are the heavy one's
    const heavy = (weight: number) => [
      ownedOf(0, 'heavy', 60, weight),
      ownedOf(1, 'light', 30),
      ownedOf(2, 'heavy', 1, weight),
    ];
    expect(new Pool('lru', 0).keep(...heavy(4)).evictSerials(3)).toEqual([1, 0, 2]);
    expect(new Pool('lru', 0).keep(...heavy(1)).evictSerials(3)).toEqual([0, 1, 2]);
    const changed = new Pool('lru', 0).keep(...heavy(4), ownedOf(3, 'heavy', 1, 1));
    expect(changed.evictSerials(4)).toEqual([0, 1, 2, 3]);
  });

  it('leaves a tenant with more weight a larger floor', () => {
    const floorOf = (weight: number): number => {
      const quiet = range(30).map((serial) => ownedOf(serial, 'quiet', 1, weight));
      const pool = new Pool().keep(...quiet, ...range(70, 30).map((serial) => ownedOf(serial, 'busy')));
      pool.evictSerials(40);
      return [...pool.idle].filter(({ tenant }) => tenant === 'quiet').length;
    };
    // half of a half, and half of four fifths
    expect([floorOf(1), floorOf(4)]).toEqual([25, 30]);
  });

  it('leaves a tenant its floor while others have more than theirs', () => {
    const quiet = range(10).map((serial) => ownedOf(serial, 'quiet'));
    const pool = new Pool().keep(...quiet, ...range(90, 10).map((serial) => ownedOf(serial, 'busy')));
    // a floor is 25 pages
    expect(pool.evictSerials(65)).toEqual(range(65, 10));
    // both are protected: the one that holds most gives, in its policy's order
    expect(pool.evictSerials(15)).toEqual(range(15, 75));
    pool.keep(ownedOf(200, 'third'));
    expect(pool.idle.size).toBe(21);
  });

  it('ends a protection when the tenant has grown, or is alone', () => {
    const quiet = range(10).map((serial) => ownedOf(serial, 'quiet'));
    const pool = new Pool().keep(...quiet, ...range(40, 10).map((serial) => ownedOf(serial, 'busy')));
    expect(pool.evictSerials(1)).toEqual([10]);
    pool.keep(...range(20, 100).map((serial) => ownedOf(serial, 'quiet')));
    expect(pool.evictSerials(3)).toEqual([0, 1, 2]);
    const alone = new Pool().keep(...quiet, ownedOf(50, 'busy', 60));
    expect(alone.evictSerials(3)).toEqual([50, 0, 1]);
  });

  it('says what goes next, and changes nothing by that', () => {
    const pool = new Pool().keep(...range(20).map((serial) => ownedOf(serial)));
    expect(pool.policy.next(3).map(({ serial }) => serial)).toEqual([0, 1, 2]);
    expect(pool.policy.next(99)).toHaveLength(20);
    expect(pool.evictSerials(3)).toEqual([0, 1, 2]);
  });

  it.each(['hit-density', 'greedy-dual-size', 'lru', 'lfu', 's3-fifo', 'gdsf'] as const)(
    'names only what may go, and all of it in the end: %s',
    (name) => {
      const action = fc.record({
        act: fc.constantFrom('keep', 'keep', 'keep', 'evict', 'withdraw', 'offer', 'advise', 'next'),
        tenant: fc.constantFrom('a', 'b', 'c'),
        pages: fc.integer({ min: 1, max: 9 }),
      });
      fc.assert(
        fc.property(fc.array(action, { maxLength: 120 }), (actions) => {
          const pool = new Pool(name);
          const busy = new Set<Owned>();
          for (const [serial, { act, tenant, pages }] of actions.entries()) {
            const [first] = pool.idle;
            const [back] = busy;
            if (act === 'keep') pool.keep(ownedOf(serial, tenant, pages));
            if (act === 'next')
              for (const content of pool.policy.next(pages)) expect(pool.idle).toContain(content);
            if (act === 'advise') pool.policy.advise(known(...range(pages, Math.max(0, serial - 9))));
            if (act === 'withdraw' && first) {
              pool.policy.withdraw(first);
              pool.idle.delete(first);
              busy.add(first);
            }
            if (act === 'offer' && back) {
              pool.policy.offer(back);
              busy.delete(back);
              pool.idle.add(back);
            }
            if (act !== 'evict') continue;
            const victim = pool.policy.victim();
            expect(pool.policy.victim()).toBe(victim);
            expect(victim === undefined).toBe(pool.idle.size === 0);
            if (victim) expect(pool.idle).toContain(victim);
            pool.evict();
          }
          const left = pool.idle.size;
          for (let gone = 0; gone < left; gone += 1) expect(pool.evict()).toBeDefined();
          expect(pool.evict()).toBeUndefined();
        }),
        { numRuns: 150, seed: 41 },
      );
    },
  );
});
