import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { TokenCounts } from './token-counts.js';

const countsOf = (counted: TokenCounts): [number, number][] => {
  const { tokens, counts } = counted;
  expect(counts).toHaveLength(tokens.length);
  return Array.from(tokens, (token, place) => [token, counts[place] ?? NaN]);
};

describe('TokenCounts', () => {
  it('count each token of the answer, those of the prompt from 0', () => {
    const counted = new TokenCounts([7, 5, 7]);
    expect(countsOf(counted)).toEqual([
      [7, 0],
      [5, 0],
    ]);
    for (const token of [5, 9, 5]) counted.add(token);
    expect(countsOf(counted)).toEqual([
      [7, 0],
      [5, 2],
      [9, 1],
    ]);
  });

  it('are exact however many tokens there are', () => {
    const tokens = fc.array(fc.nat(400), { maxLength: 600, size: 'max' });
    fc.assert(
      fc.property(tokens, tokens, (prompt, answer) => {
        const counted = new TokenCounts(prompt);
        for (const token of answer) counted.add(token);
        const expected = new Map(prompt.map((token) => [token, 0]));
        for (const token of answer) expected.set(token, (expected.get(token) ?? 0) + 1);
        expect(countsOf(counted)).toEqual([...expected]);
      }),
      { numRuns: 50, seed: 5 },
    );
  });
});
