import fc from 'fast-check';
import { expect, it } from 'vitest';
import { pagesOf, sizeCode, tokensOf } from './content-size.js';

it('is within a twentieth of what was told, in 14 bits', () => {
  fc.assert(
    fc.property(fc.nat(50_000), fc.integer({ min: 1, max: 50_000 }), (tokens, pages) => {
      const code = sizeCode({ tokens, pages });
      expect(code).toBeLessThan(2 ** 14);
      for (const [kept, told] of [
        [tokensOf(code), tokens],
        [pagesOf(code), pages],
      ] as const)
        expect(Math.abs(kept - told)).toBeLessThanOrEqual(0.05 * told + 0.5);
    }),
    { numRuns: 500, seed: 3 },
  );
});

it('takes what cannot be for the least or the most, and features for nothing', () => {
  const far = sizeCode({ tokens: 2 ** 31, pages: 2 ** 31 });
  expect([tokensOf(far), pagesOf(far)]).toEqual([55_109, 55_109]);
  expect(sizeCode({ tokens: 64, pages: 0 })).toBe(0);
  const wrong = sizeCode({ tokens: -5, pages: 1 });
  expect([tokensOf(wrong), pagesOf(wrong)]).toEqual([0, 1]);
});
