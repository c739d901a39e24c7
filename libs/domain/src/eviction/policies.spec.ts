import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fullRuns } from '../testing/full-runs.js';
import { contentOf, PolicyDriver } from '../testing/policy-driver.js';
import { EVICTION_POLICIES, type EvictionPolicyName } from './policies.js';
import type { Evictable } from './policy.js';

const NAMES = Object.keys(EVICTION_POLICIES) as EvictionPolicyName[];

const SCRIPT = fc.array(
  fc.record({
    do: fc.constantFrom('keep', 'keep', 'again', 'use', 'leave', 'withdraw', 'evict'),
    at: fc.nat(1_000),
    pages: fc.integer({ min: 1, max: 12 }),
    textTokens: fc.nat(64),
    pictureTokens: fc.nat(64),
  }),
  { minLength: 20, maxLength: 120, size: 'max' },
);
type Script = typeof SCRIPT extends fc.Arbitrary<infer Commands> ? Commands : never;

/** What goes, in its order; `check` looks at each victim before it goes. */
function play(
  cache: PolicyDriver,
  script: Script,
  check = (_victim: Evictable | undefined): void => undefined,
) {
  const order: (string | undefined)[] = [];
  const withdrawn = new Set<Evictable>();
  for (const [serial, { do: verb, at, ...known }] of script.entries()) {
    const all = [...cache.busy, ...cache.idle];
    const content = all[at % Math.max(1, all.length)];
    if (verb === 'keep') {
      // names come back, as those of content that has gone do
      const name = `c${at % 40}`;
      if (!all.some((other) => other.name === name)) cache.keep(contentOf(serial, { ...known, name }));
    } else if (verb === 'evict') {
      check(cache.policy.victim());
      order.push(cache.evict()?.name);
    } else if (content && verb === 'withdraw' && cache.idle.has(content)) {
      // something that follows it comes and goes
      cache.policy.withdraw(content);
      if (at % 2 === 0) cache.policy.offer(content);
      else withdrawn.add(content);
    } else if (content && verb !== 'withdraw' && (verb !== 'leave' || cache.busy.has(content))) {
      cache[verb](content);
      withdrawn.delete(content);
    }
    for (const each of withdrawn) if (at % 3 === 0 && cache.idle.has(each)) cache.policy.offer(each);
    if (at % 3 === 0) withdrawn.clear();
  }
  for (const each of withdrawn) if (cache.idle.has(each)) cache.policy.offer(each);
  return [...order, ...cache.evictAll()];
}

describe.each(NAMES)('%s', (name) => {
  it('names only what may go, lets all of it go, and nothing twice', () => {
    fc.assert(
      fc.property(SCRIPT, (script) => {
        const cache = new PolicyDriver(name);
        play(cache, script, (victim) => {
          if (victim) expect(cache.idle.has(victim)).toBe(true);
        });
        expect([cache.idle.size, cache.policy.victim()]).toEqual([0, undefined]);
        const busy = [...cache.busy];
        for (const content of busy) cache.leave(content);
        expect(cache.evictAll().sort()).toEqual(busy.map((content) => content.name).sort());
      }),
      { numRuns: fullRuns(100, 10_000), seed: 14 },
    );
  });

  it('decides alike where the same has happened', () => {
    fc.assert(
      fc.property(SCRIPT, (script) => {
        expect(play(new PolicyDriver(name), script)).toEqual(play(new PolicyDriver(name), script));
      }),
      { numRuns: fullRuns(50, 5_000), seed: 14 },
    );
  });

  it('names none that was withdrawn, and it again once it is offered', () => {
    const cache = new PolicyDriver(name);
    const [first, second] = [contentOf(0), contentOf(1)];
    cache.keep(first, second);
    cache.policy.withdraw(second);
    expect(cache.policy.victim()).toBe(first);
    cache.policy.withdraw(first);
    expect(cache.policy.victim()).toBeUndefined();
    for (const content of [second, first]) cache.policy.offer(content);
    expect(cache.evictAll().sort()).toEqual(['c0', 'c1']);
  });
});
