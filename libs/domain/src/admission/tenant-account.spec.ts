import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PLAIN_TERMS, type TenantCaps } from './index.js';
import { TenantAccount } from './tenant-account.js';

const accountWith = (caps: Partial<TenantCaps>) =>
  new TenantAccount({ ...PLAIN_TERMS, caps: { ...PLAIN_TERMS.caps, ...caps } });

describe('the account of a tenant', () => {
  it('without caps lets everything pass', () => {
    const account = accountWith({});
    expect([account.open(0), account.charge(1e12, 0), account.hasRoomFor(1e12)]).toEqual([
      undefined,
      undefined,
      true,
    ]);
  });

  it('takes no more requests than its cap until one ends', () => {
    const account = accountWith({ requests: 2 });
    expect([account.open(0), account.open(0)]).toEqual([undefined, undefined]);
    expect(account.open(0)).toEqual({ cap: 'requests', retryAfterMs: 1_000 });
    account.close(0);
    expect(account.open(0)).toBeUndefined();
  });

  it('has a share of its caps where there are several routers, a request and a large one at least', () => {
    const account = accountWith({ requests: 5, tokensPerMinute: 600, pages: 100 });
    account.shareAmong(2, 0);
    expect([account.open(0), account.open(0), account.open(0)?.cap]).toEqual([
      undefined,
      undefined,
      'requests',
    ]);
    expect([account.charge(300, 0), account.charge(100, 0)?.retryAfterMs]).toEqual([undefined, 20_000]);
    expect([account.hasRoomFor(100), account.hasRoomFor(101)]).toEqual([true, false]);
    account.hold(30);
    expect([account.hasRoomFor(20), account.hasRoomFor(21)]).toEqual([true, false]);
    account.shareAmong(1, 0);
    expect([account.open(0), account.hasRoomFor(70), account.hasRoomFor(71)]).toEqual([
      undefined,
      true,
      false,
    ]);
    account.shareAmong(50, 0);
    for (let open = 0; open < 3; open += 1) account.close(0);
    expect([account.open(0), account.open(0)?.cap]).toEqual([undefined, 'requests']);
  });

  it('of all routers together never lets more in than the cap, whoever comes and goes', () => {
    const step = fc.record({
      router: fc.nat(3),
      tokens: fc.integer({ min: 1, max: 300 }),
      ms: fc.nat(5_000),
    });
    const cap = 1_200;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), (count, steps) => {
        const accounts = Array.from({ length: count }, () =>
          accountWith({ requests: 8, tokensPerMinute: cap }),
        );
        for (const account of accounts) account.shareAmong(count, 0);
        let [nowMs, charged] = [0, 0];
        for (const { router, tokens, ms } of steps) {
          nowMs += ms;
          const account = accounts[router % count] as TenantAccount;
          account.open(nowMs);
          if (account.charge(tokens, nowMs) === undefined) charged += tokens;
          const open = accounts.reduce((sum, { requests }) => sum + requests, 0);
          expect(open).toBeLessThanOrEqual(8);
          // a bucket of it at once, what has come since, and of each router what is larger than its share
          expect(charged).toBeLessThanOrEqual(cap * (1 + nowMs / 60_000) + 1e-6);
        }
      }),
      { numRuns: 300, seed: 4 },
    );
  });

  it('tells by how fast requests end when the next has room', () => {
    const account = accountWith({ requests: 2 });
    account.open(0);
    account.open(0);
    account.open(0);
    for (let nowMs = 400; nowMs <= 8_000; nowMs += 400) {
      account.close(nowMs);
      expect(account.open(nowMs)).toBeUndefined();
    }
    expect(account.open(8_000)?.retryAfterMs).toBeCloseTo(400, -2);
  });

  it('says to the millisecond when there are enough tokens', () => {
    const account = accountWith({ tokensPerMinute: 600 });
    expect(account.charge(500, 0)).toBeUndefined();
    expect(account.charge(200, 0)).toEqual({ cap: 'tokens', retryAfterMs: 10_000 });
    expect(account.charge(200, 9_999)?.cap).toBe('tokens');
    expect(account.charge(200, 10_000)).toBeUndefined();
  });

  it('lets more than a minute’s tokens pass out of a full bucket alone, which is in debt then', () => {
    const account = accountWith({ tokensPerMinute: 600 });
    expect(account.charge(900, 0)).toBeUndefined();
    expect(account.open(0)).toEqual({ cap: 'tokens', retryAfterMs: 30_000 });
    expect(account.charge(1, 30_000)).toEqual({ cap: 'tokens', retryAfterMs: 100 });
    expect(account.open(30_000)).toBeUndefined();
  });

  it('gives back what an estimate took too much, and asks for what it took too little', () => {
    const account = accountWith({ tokensPerMinute: 600 });
    account.charge(600, 0);
    account.settle(-100);
    expect(account.charge(100, 0)).toBeUndefined();
    account.settle(60);
    expect(account.open(0)?.retryAfterMs).toBeCloseTo(6_000);
    account.settle(-10_000);
    expect(account.charge(601, 0)).toBeUndefined();
  });

  it('never passes more tokens in any span of time than a minute’s and what came in it', () => {
    const perMinute = 600;
    const request = fc.record({
      afterMs: fc.nat(20_000),
      estimate: fc.integer({ min: 0, max: 400 }),
      used: fc.integer({ min: 0, max: 400 }),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 60 }), (requests) => {
        const account = accountWith({ tokensPerMinute: perMinute });
        const passed: { readonly atMs: number; readonly tokens: number }[] = [];
        let nowMs = 0;
        for (const { afterMs, estimate, used } of requests) {
          nowMs += afterMs;
          if (account.charge(estimate, nowMs)) continue;
          account.settle(used - estimate);
          passed.push({ atMs: nowMs, tokens: used });
        }
        passed.forEach((from, at) => {
          let tokens = 0;
          for (const { atMs, tokens: more } of passed.slice(at)) {
            tokens += more;
            // the last one may owe what its estimate was short of
            expect(tokens).toBeLessThanOrEqual(
              perMinute + (perMinute * (atMs - from.atMs)) / 60_000 + 400 + 1e-6,
            );
          }
        });
      }),
      { numRuns: 300, seed: 16 },
    );
  });
});
