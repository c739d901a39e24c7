import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Headroom, leavesHeadroom, NO_HEADROOM } from './headroom.js';
import { HeadroomMeter } from './headroom-meter.js';
import { Line } from './line.js';
import { TenantAccount } from './tenant-account.js';
import { PLAIN_TERMS } from './tenant-terms.js';

const lineOf = (weight = 1) => new Line(new TenantAccount({ ...PLAIN_TERMS, weight }));

/** So many requests of 10 tokens' work and 4 pages, at one time. */
function admit(meter: HeadroomMeter, line: Line, requests: number, nowMs: number): void {
  for (let each = 0; each < requests; each += 1) meter.admitted(line, 4, 10, nowMs);
}

describe('headroom', () => {
  it('is kept by those that are served most for those that are served little', () => {
    const [meter, quiet, noisy] = [new HeadroomMeter(), lineOf(), lineOf()];
    admit(meter, noisy, 98, 0);
    admit(meter, quiet, 2, 0);
    expect(meter.besides(noisy, 0)).toEqual({ requests: 1, pages: 4 });
    expect(meter.besides(quiet, 0)).toEqual(NO_HEADROOM);
    expect(meter.besides(lineOf(), 0)).toEqual(NO_HEADROOM);
  });

  it('grows with what the quiet ones ask for', () => {
    const requestsAt = (share: number): number => {
      const [meter, noisy] = [new HeadroomMeter(), lineOf()];
      admit(meter, noisy, 100 - share, 0);
      for (let quiet = 0; quiet < share; quiet += 1) admit(meter, lineOf(), 1, 0);
      return meter.besides(noisy, 0).requests;
    };
    // a share ρ of all finds n taken in ρⁿ of all cases: 1/50 at most
    expect([1, 2, 10, 14, 40].map(requestsAt)).toEqual([1, 1, 2, 2, 5]);
  });

  it('is nothing where a tenant is alone, or all are served alike', () => {
    const [meter, one, other] = [new HeadroomMeter(), lineOf(), lineOf()];
    admit(meter, one, 10, 0);
    expect(meter.besides(one, 0)).toEqual(NO_HEADROOM);
    admit(meter, other, 7, 0);
    expect([meter.besides(one, 1_000), meter.besides(other, 1_000)]).toEqual([NO_HEADROOM, NO_HEADROOM]);
  });

  it('goes by weights', () => {
    const [meter, small, large] = [new HeadroomMeter(), lineOf(1), lineOf(4)];
    admit(meter, small, 20, 0);
    admit(meter, large, 80, 0);
    expect([meter.besides(small, 0), meter.besides(large, 0)]).toEqual([NO_HEADROOM, NO_HEADROOM]);
    admit(meter, small, 300, 0);
    expect(meter.besides(small, 1_000).requests).toBeGreaterThan(0);
  });

  it('is given up when nobody quiet has asked for minutes', () => {
    const [meter, quiet, noisy] = [new HeadroomMeter(), lineOf(), lineOf()];
    admit(meter, quiet, 1, 0);
    for (let nowMs = 0; nowMs <= 200_000; nowMs += 1_000) admit(meter, noisy, 10, nowMs);
    expect(meter.besides(noisy, 200_000).requests).toBe(1);
    expect(meter.besides(noisy, 300_000)).toEqual(NO_HEADROOM);
  });

  it('is a finite number of requests, for lines above half of their share only, whatever happens', () => {
    const event = fc.record({
      line: fc.nat(5),
      pages: fc.nat(100),
      work: fc.nat(1_000),
      // clocks that jump, too
      ms: fc.integer({ min: -5_000, max: 200_000 }),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 50 }), (events) => {
        const meter = new HeadroomMeter();
        const lines = Array.from({ length: 6 }, (_, index) => lineOf(1 + (index % 3)));
        let nowMs = 0;
        for (const { line, pages, work, ms } of events) {
          nowMs += ms;
          meter.admitted(lines[line] as Line, pages, work, nowMs);
          const kept = lines.map((each) => meter.besides(each, nowMs)).filter(({ requests }) => requests > 0);
          expect(kept.length).toBeLessThan(lines.length);
          for (const each of kept) {
            expect(Number.isInteger(each.requests) && each.requests < 1_000).toBe(true);
            expect(Number.isInteger(each.pages) && each.pages <= 100).toBe(true);
          }
        }
      }),
      { numRuns: 300, seed: 5 },
    );
  });
});

describe('room that is left', () => {
  const poolOf = (capacityPages: number, roomPages: number) => ({ record: { capacityPages }, roomPages });
  const two: Headroom = { requests: 2, pages: 10 };

  it('is counted in whole requests, over all pools', () => {
    const pools = [poolOf(1_000, 30), poolOf(1_000, 19), poolOf(1_000, 9)];
    const [first] = pools as [(typeof pools)[0]];
    expect([10, 11, 20, 21].map((pages) => leavesHeadroom(pools, first, pages, two))).toEqual([
      true,
      true,
      true,
      false,
    ]);
  });

  it('is a fiftieth of all pages at most', () => {
    const [enough, few] = [poolOf(500, 10), poolOf(499, 10)];
    expect(leavesHeadroom([enough], enough, 10, { requests: 3, pages: 10 })).toBe(false);
    expect(leavesHeadroom([few], few, 10, { requests: 3, pages: 10 })).toBe(true);
  });

  it('is not asked of a request beside which there is never as much', () => {
    const pool = poolOf(1_000, 1_000);
    expect(leavesHeadroom([pool], pool, 981, two)).toBe(true);
    expect(leavesHeadroom([poolOf(1_000, 999)], poolOf(1_000, 985), 980, two)).toBe(true);
  });

  it('is there again once all that runs has ended', () => {
    const pool = fc.record({ capacity: fc.integer({ min: 1, max: 500 }), used: fc.nat(500) });
    const headroom = fc.record({ requests: fc.nat(10), pages: fc.nat(40) });
    fc.assert(
      fc.property(
        fc.array(pool, { minLength: 1, maxLength: 5 }),
        fc.nat(600),
        headroom,
        (all, pages, keep) => {
          const [busy, idle] = [
            all.map(({ capacity, used }) => poolOf(capacity, Math.max(0, capacity - used))),
            all.map(({ capacity }) => poolOf(capacity, capacity)),
          ];
          const at = (pools: typeof busy) => leavesHeadroom(pools, pools[0] as (typeof busy)[0], pages, keep);
          if (pages <= (all[0]?.capacity ?? 0)) expect(at(idle)).toBe(true);
          // what is left with little room is with more
          if (at(busy)) expect(at(idle)).toBe(true);
        },
      ),
      { numRuns: 500, seed: 5 },
    );
  });
});
