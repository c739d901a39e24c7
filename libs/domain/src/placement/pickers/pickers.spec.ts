import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Picker } from '../placement.js';
import { lowest, nearBest, roundRobin, twoChoices, uniform } from './index.js';
import { turns } from '../../testing/turns.js';

const PICKERS: [string, () => Picker][] = [
  ['near-best', () => nearBest],
  ['two-choices', () => twoChoices],
  ['lowest', () => lowest],
  ['round-robin', roundRobin],
  ['uniform', () => uniform],
];

describe.each(PICKERS)('%s', (_name, picker) => {
  it('picks no more than asked, nobody twice, and nobody it was not given', () => {
    const costs = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { maxLength: 12 });
    const numbers = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1 });
    fc.assert(
      fc.property(costs, fc.nat(14), numbers, (all, count, random) => {
        const totals = Float64Array.from(all);
        const picks = picker().pick(totals, count, turns(...random));
        expect(picks).toHaveLength(Math.min(count, all.length));
        expect(new Set(picks).size).toBe(picks.length);
        for (const pick of picks) expect(all).toHaveProperty(String(pick));
        expect([...totals]).toEqual(all);
      }),
      { numRuns: 200, seed: 3 },
    );
  });
});

const pick = (picker: Picker, totals: number[], count: number, ...numbers: number[]) =>
  picker.pick(Float64Array.from(totals), count, turns(...numbers));

describe('two-choices', () => {
  it.each([
    ['the better of the two that are drawn', [9, 1, 5], [0, 0], [1]],
    ['whichever order they are drawn in', [9, 1, 5], [0.4, 0.9], [1]],
    ['not the best where it is not drawn', [9, 1, 5], [0, 0.9], [2]],
    ['the first draw of a tie', [3, 3], [0.5, 0], [1]],
  ])('gives %s', (_what, totals, numbers, expected) => {
    expect(pick(twoChoices, totals, 1, ...numbers)).toEqual(expected);
  });
});

describe('lowest', () => {
  it.each([
    ['the cheapest, then the next', [9, 1, 5], 2, [0.9], [1, 2]],
    ['any of the cheapest', [1, 9, 1], 1, [0.6], [2]],
    ['any of the cheapest, the other one', [1, 9, 1], 1, [0.4], [0]],
  ])('gives %s', (_what, totals, count, numbers, expected) => {
    expect(pick(lowest, totals, count, ...numbers)).toEqual(expected);
  });
});

describe('round-robin', () => {
  it('gives one after the other, and after each those that follow', () => {
    const picker = roundRobin();
    const next = (count: number) => pick(picker, [5, 1, 9], count);
    expect([next(1), next(2), next(3), next(1)]).toEqual([[0], [1, 2], [2, 0, 1], [0]]);
  });
});

describe('uniform', () => {
  it('gives any, whatever it costs', () => {
    expect([0, 0.4, 0.9].map((draw) => pick(uniform, [5, 1, 9], 1, draw)[0])).toEqual([0, 1, 2]);
  });
});
