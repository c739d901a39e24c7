import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Workload } from './workload.js';

describe('workload', () => {
  it('counts what was sent until its first token comes or it ends', () => {
    const load = new Workload();
    const [first, second] = [load.send(100, 100, 0), load.send(40, 140, 0)];
    expect([load.pendingRequests, load.pendingTokens]).toEqual([2, 140]);
    first.answered(50);
    first.ended();
    expect([load.pendingRequests, load.pendingTokens]).toEqual([1, 40]);
    second.ended();
    second.answered(60);
    expect([load.pendingRequests, load.pendingTokens]).toEqual([0, 0]);
    expect(load.msPerToken).toBe(0.5);
  });

  it('measures time over what was ahead, the last measurements most', () => {
    const load = new Workload();
    expect(load.msPerToken).toBeUndefined();
    load.send(10, 100, 0).answered(100);
    expect(load.msPerToken).toBe(1);
    load.send(10, 100, 0).answered(600);
    expect(load.msPerToken).toBe(2);
    load.send(0, 0, 600).answered(602);
    expect(load.msPerToken).toBe(2);
  });

  it('forgets what was measured a minute ago', () => {
    const load = new Workload();
    load.send(1, 1, 0).answered(9);
    load.tick(60_009);
    expect(load.msPerToken).toBe(9);
    load.tick(60_010);
    expect(load.msPerToken).toBeUndefined();
    load.send(1, 1, 99_999).answered(100_000);
    expect(load.msPerToken).toBe(1);
  });

  it('is empty again after any order of answers and ends, and between its measurements', () => {
    const job = fc.record({ tokens: fc.nat(1_000), ms: fc.nat(100), ends: fc.boolean() });
    fc.assert(
      fc.property(fc.array(job), (jobs) => {
        const load = new Workload();
        const works = jobs.map(({ tokens }) => load.send(tokens, tokens, 0));
        expect(load.pendingTokens).toBe(jobs.reduce((sum, { tokens }) => sum + tokens, 0));
        for (const [index, { ms, ends }] of jobs.entries()) {
          if (ends) works[index]?.ended();
          else works[index]?.answered(ms);
        }
        expect([load.pendingRequests, load.pendingTokens]).toEqual([0, 0]);
        const pace = load.msPerToken;
        const all = jobs.filter(({ ends }) => !ends).map(({ tokens, ms }) => ms / Math.max(1, tokens));
        if (pace === undefined) expect(all).toEqual([]);
        else expect(pace).toBeGreaterThanOrEqual(Math.min(...all) - 1e-9);
        expect(pace ?? 0).toBeLessThanOrEqual(Math.max(0, ...all) + 1e-9);
      }),
      { numRuns: 200, seed: 5 },
    );
  });
});
