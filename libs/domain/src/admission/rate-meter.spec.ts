import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RateMeter } from './rate-meter.js';

/** So many events, one each 100 ms, from a time on. */
function beat(meter: RateMeter, times: number, fromMs: number): number {
  for (let at = 1; at <= times; at += 1) meter.event(fromMs + 100 * at);
  return fromMs + 100 * times;
}

describe('how fast a queue moves', () => {
  it('is known after eight events, and while somebody waits', () => {
    const meter = new RateMeter();
    beat(meter, 20, 0);
    expect(meter.perSecond(2_000)).toBeUndefined();
    meter.start(2_000);
    beat(meter, 7, 2_000);
    expect(meter.perSecond(2_700)).toBeUndefined();
    beat(meter, 13, 2_700);
    expect(meter.perSecond(4_000)).toBeCloseTo(10, 0);
    meter.stop(4_000);
    expect(meter.perSecond(4_000)).toBeUndefined();
    meter.start(900_000);
    expect(meter.perSecond(900_000)).toBeCloseTo(10, 0);
  });

  it('falls while nothing gets in', () => {
    const meter = new RateMeter();
    meter.start(0);
    beat(meter, 100, 0);
    expect(meter.perSecond(40_000)).toBeLessThan(1);
  });

  it('is measured anew where the process has stood still for longer than anybody waits', () => {
    const meter = new RateMeter();
    meter.start(0);
    beat(meter, 100, 0);
    const resumedMs = 3_600_000;
    expect(meter.perSecond(resumedMs)).toBeUndefined();
    expect(meter.perSecond(beat(meter, 10, resumedMs))).toBeCloseTo(10, 0);
  });

  it('is never nothing of what it knows, whatever the clock does', () => {
    const step = fc.record({
      does: fc.constantFrom('start', 'stop', 'event', 'ask'),
      ms: fc.oneof(fc.integer({ min: -10_000, max: 60_000 }), fc.constantFrom(3_600_000, -3_600_000)),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const meter = new RateMeter();
        let nowMs = 0;
        for (const { does, ms } of steps) {
          nowMs += ms;
          if (does === 'start') meter.start(nowMs);
          else if (does === 'stop') meter.stop(nowMs);
          else if (does === 'event') meter.event(nowMs);
          const rate = meter.perSecond(nowMs);
          if (rate !== undefined) expect(rate >= 0 && Number.isFinite(rate)).toBe(true);
        }
      }),
      { numRuns: 300, seed: 3 },
    );
  });
});
