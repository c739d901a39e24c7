import { describe, expect, it } from 'vitest';
import { type Load, type Outcome, type Scenario, simulate } from './testing/fair-simulation.js';

const QUIET = { tenant: 'quiet', perSecond: 2 };
const NOISY = { tenant: 'noisy', perSecond: 50 * QUIET.perSecond };
// 256 slots at 3.3 s a request serve 77 a second
const CLUSTER = { slots: 256, seconds: 120, seed: 1 };

function p99(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.ceil(0.99 * samples.length) - 1] ?? NaN;
}

function run(scenario: Partial<Scenario>): (tenant: string) => Outcome {
  const outcomes = simulate({ ...CLUSTER, loads: [QUIET], ...scenario });
  return (tenant) => outcomes.get(tenant) ?? { ttftMs: [], refused: NaN };
}

describe('a quiet tenant beside one with 50 times its load, which is more than the cluster serves', () => {
  const alone = run({})('quiet');
  const beside = run({ loads: [QUIET, NOISY] });

  it('waits for its first token less than a fifth longer at p99, and is never refused', () => {
    const quiet = beside('quiet');
    expect(quiet.ttftMs.length).toBe(alone.ttftMs.length);
    expect(quiet.refused).toBe(0);
    expect(p99(quiet.ttftMs) / p99(alone.ttftMs)).toBeLessThan(1.2);
  });

  it('waits many times longer in one line for all, and is refused like everybody', () => {
    const one = run({ loads: [QUIET, NOISY], oneLine: true })('quiet');
    expect(p99(one.ttftMs) / p99(alone.ttftMs)).toBeGreaterThan(5);
    expect(one.refused / (one.refused + one.ttftMs.length)).toBeGreaterThan(0.1);
  });

  it.each([50, 64])('finds room at once in a small cluster, too: %i slots', (slots) => {
    const share = slots / CLUSTER.slots;
    const [quiet, noisy] = [QUIET, NOISY].map((load) => ({ ...load, perSecond: share * load.perSecond })) as [
      Load,
      Load,
    ];
    const small = { slots, seconds: 480 };
    const aloneMs = p99(run({ ...small, loads: [quiet] })('quiet').ttftMs);
    const outcome = run({ ...small, loads: [quiet, noisy] });
    // for whom no room is kept waits until a request of them all ends: one of 64 does in 52 ms on average, 240 ms at p99
    expect(p99(outcome('quiet').ttftMs) / aloneMs).toBeLessThan(1.1);
    const served = (of: (tenant: string) => Outcome) => of('quiet').ttftMs.length + of('noisy').ttftMs.length;
    const inOneLine = served(run({ ...small, loads: [quiet, noisy], oneLine: true }));
    expect(served(outcome) / inOneLine).toBeGreaterThan(0.975);
  });

  it('finds room at once where the other has a cap on pages, however small the cluster', () => {
    const small = { slots: 32, seconds: 480 };
    const [quiet, noisy] = [QUIET, NOISY].map((load) => ({ ...load, perSecond: load.perSecond / 8 })) as [
      Load,
      Load,
    ];
    const aloneMs = p99(run({ ...small, loads: [quiet] })('quiet').ttftMs);
    const ratio = (most: number): number =>
      p99(run({ ...small, loads: [quiet, { ...noisy, most }] })('quiet').ttftMs) / aloneMs;
    expect(ratio(Infinity)).toBeGreaterThan(1.2);
    expect(ratio(27)).toBeLessThan(1.1);
  });

  it('shares the cluster with others that are served alike, and nothing is kept from any of them', () => {
    const loads = ['a', 'b', 'c'].map((tenant) => ({ tenant, perSecond: 40 }));
    const served = (oneLine: boolean) => {
      const of = run({ loads, oneLine });
      return loads.reduce((sum, { tenant }) => sum + of(tenant).ttftMs.length, 0);
    };
    expect(served(false) / served(true)).toBeGreaterThan(0.995);
  });

  it('costs the other nothing but its own share', () => {
    const served = beside('noisy').ttftMs.length + beside('quiet').ttftMs.length;
    const one = run({ loads: [QUIET, NOISY], oneLine: true });
    const servedInOneLine = one('noisy').ttftMs.length + one('quiet').ttftMs.length;
    expect(served / servedInOneLine).toBeCloseTo(1, 1);
  });
});
