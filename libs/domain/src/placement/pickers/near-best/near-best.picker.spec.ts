import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ScoredWorker } from '../../placement.js';
import { viewOf } from '../../../testing/worker-views.js';
import { nearBest } from './near-best.picker.js';

const scored = (id: string, total: number): ScoredWorker => ({ worker: viewOf({ id }), scores: {}, total });
const idsOf = (list: readonly ScoredWorker[]) => list.map(({ worker }) => worker.record.workerId);

/** Numbers in turn, from the beginning again after the last. */
function turns(...numbers: number[]): () => number {
  let at = 0;
  return () => numbers[at++ % numbers.length] ?? 0;
}

/** Two of that total and one of 1; the draws of the tests meet the first two where they are near. */
const closeTo = (total: number) => [scored('a', total), scored('b', total + 0.0005), scored('c', 1)];

describe('near-best', () => {
  const three = [scored('a', 0.5), scored('b', 0.53), scored('c', 0.9)];

  it.each([
    ['nobody', [], [], [0]],
    ['one', [scored('a', 0.1)], ['a'], [0.9]],
    ['the clearly better one first, then the better of those that are near', three, ['c', 'b', 'a'], [0]],
    ['whatever is drawn of two', three.slice(0, 2), ['b', 'a'], [0.99]],
    ['the first draw of a tie', [scored('a', 0.5), scored('b', 0.5)], ['b', 'a'], [0.5, 0]],
    ['from what lies just within the margin', closeTo(0.951), ['b'], [0]],
    ['from what lies exactly at it', closeTo(0.95), ['b'], [0]],
    ['not from what lies beyond it', closeTo(0.949), ['c'], [0]],
  ])('picks %s', (_name, candidates, expected, numbers) => {
    const picks = idsOf(nearBest.pick(candidates, 3, turns(...numbers)));
    expect(picks.slice(0, expected.length)).toEqual(expected);
  });

  it('draws two different ones, so that the better of two is always first', () => {
    for (let draw = 0; draw < 1; draw += 0.1)
      expect(idsOf(nearBest.pick(three.slice(0, 2), 1, turns(0, draw)))).toEqual(['b']);
  });

  it('picks no more than asked, nobody twice, and nobody it was not given', () => {
    const totals = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });
    const numbers = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1 });
    fc.assert(
      fc.property(totals, fc.nat(14), numbers, (all, count, random) => {
        const candidates = all.map((total, index) => scored(`w${index}`, total));
        const picks = nearBest.pick(candidates, count, turns(...random));
        expect(picks).toHaveLength(Math.min(count, candidates.length));
        expect(new Set(picks).size).toBe(picks.length);
        for (const pick of picks) expect(candidates).toContain(pick);
        expect(candidates).toHaveLength(all.length);
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  it('spreads what many routers decide from one snapshot', () => {
    const candidates = Array.from({ length: 50 }, (_, index) => scored(`w${index}`, 1));
    const counts = new Map<string, number>();
    let state = 1;
    const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    for (let router = 0; router < 5_000; router += 1) {
      const [id = ''] = idsOf(nearBest.pick(candidates, 1, random));
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect(counts.size).toBe(50);
    expect(Math.max(...counts.values())).toBeLessThan(160);
  });
});
