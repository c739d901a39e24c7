import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { CircuitBreaker, type Trial } from './circuit-breaker.js';

function begun(breaker: CircuitBreaker, nowMs: number): Trial {
  const trial = breaker.begin(nowMs);
  if (!trial) throw new Error('left alone');
  return trial;
}

/** Five failures, a millisecond between two of them; resolves to when the last was. */
function fail(breaker: CircuitBreaker, fromMs: number): number {
  for (let nowMs = fromMs; nowMs < fromMs + 5; nowMs += 1) begun(breaker, nowMs).failed(nowMs, 1);
  return fromMs + 4;
}

describe('CircuitBreaker', () => {
  it('opens with the fifth failure among the newest ten outcomes', () => {
    const breaker = new CircuitBreaker();
    for (let nowMs = 0; nowMs < 5; nowMs += 1) {
      expect(breaker.state(nowMs)).toBe('closed');
      const trial = begun(breaker, nowMs);
      // it comes forward and breaks all the same, again and again
      trial.succeeded();
      trial.failed(nowMs, 1);
    }
    expect([breaker.state(5), breaker.leavesAlone(5), breaker.begin(5)]).toEqual(['open', true, undefined]);
  });

  it('stays closed while fewer fail', () => {
    const breaker = new CircuitBreaker();
    for (let nowMs = 0; nowMs < 300; nowMs += 1) {
      const trial = begun(breaker, nowMs);
      if (nowMs % 3 === 0) trial.failed(nowMs, 1);
      else trial.succeeded();
    }
    expect(breaker.state(300)).toBe('closed');
  });

  it('takes all that fail in one moment for one failure, and a request’s progress for one success', () => {
    const breaker = new CircuitBreaker();
    const batch = Array.from({ length: 64 }, () => begun(breaker, 0));
    for (const trial of batch) trial.failed(1, 1);
    expect(breaker.state(1)).toBe('closed');
    const streaming = begun(breaker, 2);
    for (let tokens = 0; tokens < 100; tokens += 1) streaming.succeeded();
    for (let nowMs = 2; nowMs < 6; nowMs += 1) begun(breaker, nowMs).failed(nowMs, 1);
    expect(breaker.state(6)).toBe('open');
  });

  it('lets one probe through when its time is over, which closes it', () => {
    const breaker = new CircuitBreaker();
    const openedMs = fail(breaker, 0);
    expect(breaker.begin(openedMs + 999)).toBeUndefined();
    const dueMs = openedMs + 1_000;
    expect(breaker.leavesAlone(dueMs)).toBe(false);
    const probe = begun(breaker, dueMs);
    expect([probe.state, breaker.leavesAlone(dueMs), breaker.begin(dueMs)]).toEqual([
      'half-open',
      true,
      undefined,
    ]);
    probe.succeeded();
    expect([breaker.state(dueMs), breaker.leavesAlone(dueMs)]).toEqual(['closed', false]);
    // its own end later is an outcome of the time before
    probe.failed(dueMs, 1);
    probe.left();
    expect(breaker.state(dueMs)).toBe('closed');
  });

  it('lets another probe through after one that ended without telling anything', () => {
    const breaker = new CircuitBreaker();
    const dueMs = fail(breaker, 0) + 1_000;
    begun(breaker, dueMs).left();
    expect(begun(breaker, dueMs).state).toBe('half-open');
  });

  it('doubles its time with each probe that fails, up to a minute, and forgets that after eleven good outcomes', () => {
    const breaker = new CircuitBreaker();
    let nowMs = fail(breaker, 0);
    const waits: number[] = [];
    for (let probes = 0; probes < 8; probes += 1) {
      let waitMs = 0;
      while (breaker.leavesAlone(nowMs + waitMs)) waitMs += 500;
      waits.push(waitMs / 1_000);
      nowMs += waitMs;
      const probe = begun(breaker, nowMs);
      if (probes < 7) probe.failed(nowMs, 1);
      else probe.succeeded();
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
    nowMs = fail(breaker, nowMs);
    expect(breaker.begin(nowMs + 59_000)).toBeUndefined();
    begun(breaker, nowMs + 60_000).succeeded();
    for (let good = 0; good < 11; good += 1) begun(breaker, nowMs + 60_000).succeeded();
    nowMs = fail(breaker, nowMs + 60_001);
    expect(breaker.begin(nowMs + 1_000)).toBeDefined();
  });

  it('closes when a request that was forced through comes forward, and takes no harm when it fails', () => {
    const breaker = new CircuitBreaker();
    const openedMs = fail(breaker, 0);
    const forced = [breaker.begin(openedMs, true), breaker.begin(openedMs, true)] as [Trial, Trial];
    expect(forced[0].state).toBe('open');
    forced[0].failed(openedMs + 500, 1);
    expect(begun(breaker, openedMs + 1_000).state).toBe('half-open');
    forced[1].succeeded();
    expect(breaker.state(openedMs + 1_000)).toBe('closed');
  });

  /** What happens to a breaker, with random choices among the requests that are under way. */
  const happening = fc.oneof(
    fc.record({ kind: fc.constant('begin' as const), isForced: fc.boolean() }),
    fc.record({
      kind: fc.constantFrom('succeed' as const, 'fail' as const, 'fail' as const, 'leave' as const),
      at: fc.nat(),
    }),
    fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(20_000) }),
  );

  it('probes one at a time and never before its time, opens by failures alone, and always closes again', () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 400, size: 'max' }), (happenings) => {
        const breaker = new CircuitBreaker();
        const open: Trial[] = [];
        let nowMs = 0;
        let failures = 0;
        for (const each of happenings) {
          const before = breaker.state(nowMs);
          if (each.kind === 'pass') nowMs += each.ms;
          else if (each.kind === 'begin') {
            const isLeft = breaker.leavesAlone(nowMs);
            const trial = breaker.begin(nowMs, each.isForced);
            expect(trial === undefined).toBe(isLeft && !each.isForced);
            if (before === 'open') expect(isLeft).toBe(true);
            // a probe keeps the others away
            if (trial?.state === 'half-open') expect(breaker.leavesAlone(nowMs)).toBe(true);
            if (trial) open.push(trial);
          } else {
            const trial = open[each.at % Math.max(1, open.length)];
            if (!trial) continue;
            if (each.kind === 'succeed') trial.succeeded();
            else if (each.kind === 'leave') trial.left();
            else {
              nowMs += 1;
              failures += 1;
              trial.failed(nowMs, 0.5);
            }
            if (before === 'closed' && breaker.state(nowMs) !== 'closed') {
              expect([each.kind, failures >= 5]).toEqual(['fail', true]);
              failures = 0;
            }
            if (each.kind !== 'succeed' && before !== 'closed')
              expect(breaker.state(nowMs)).not.toBe('closed');
          }
        }
        for (const trial of open) trial.left();
        nowMs += 60_000;
        begun(breaker, nowMs).succeeded();
        expect(breaker.state(nowMs)).toBe('closed');
      }),
      { seed: 14, numRuns: 500 },
    );
  });

  it('never opens by requests that succeed, are cancelled, or are at fault themselves', () => {
    const kinds = fc.array(fc.constantFrom('succeed', 'leave'), { maxLength: 200 });
    fc.assert(
      fc.property(kinds, (outcomes) => {
        const breaker = new CircuitBreaker();
        for (const [nowMs, outcome] of outcomes.entries()) {
          const trial = begun(breaker, nowMs);
          if (outcome === 'succeed') trial.succeeded();
          trial.left();
        }
        expect(breaker.leavesAlone(outcomes.length)).toBe(false);
      }),
      { seed: 15 },
    );
  });
});
