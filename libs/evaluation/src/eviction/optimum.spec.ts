import fc from 'fast-check';
import { expect, it } from 'vitest';
import { optimum } from './optimum.js';
import type { ContentName } from '@kvcapsule/domain/identity';
import type { Piece, Trace } from './trace.js';

const PIECES = Array.from({ length: 6 }, (_, index): Piece => ({
  ...{ name: `p${index}` as ContentName, parent: 'root' as ContentName, start: 0, picture: undefined },
  ...{ run: true, tokenIds: Array<number>(1 + ((index * 7) % 5)).fill(0), pages: 1 + (index % 3) },
}));
const tokens = ({ tokenIds }: Piece) => tokenIds.length;

const traceOf = (uses: readonly (readonly number[])[]): Trace => ({
  name: 'drawn',
  requests: uses.map((indices) => ({
    tenant: '',
    pieces: indices.flatMap((index) => PIECES[index] ?? []),
    promptPieces: indices.length,
  })),
});

/** The most that can be saved by what is kept after each request, tried out. */
function most(trace: Trace, pages: number): number {
  const sizeOf = (pieces: Iterable<Piece>) => [...pieces].reduce((sum, piece) => sum + piece.pages, 0);
  const after = (at: number, kept: readonly Piece[]): number => {
    const request = trace.requests[at];
    if (!request) return 0;
    const saved = request.pieces.filter((piece) => kept.includes(piece)).reduce((s, p) => s + tokens(p), 0);
    const others = kept.filter((piece) => !request.pieces.includes(piece));
    let best = 0;
    for (let choice = 0; choice < 2 ** others.length; choice += 1) {
      const stay = others.filter((_, bit) => (choice >> bit) & 1);
      if (sizeOf(request.pieces) + sizeOf(stay) <= pages)
        best = Math.max(best, after(at + 1, [...request.pieces, ...stay]));
    }
    return saved + best;
  };
  return after(0, []);
}

it('no way to evict passes the upper bound, and it is near', () => {
  const uses = fc.array(fc.uniqueArray(fc.nat(5), { minLength: 1, maxLength: 2 }), {
    minLength: 4,
    maxLength: 8,
  });
  let [tried, reached] = [0, 0];
  fc.assert(
    fc.property(uses, fc.integer({ min: 6, max: 9 }), (drawn, pages) => {
      const trace = traceOf(drawn);
      const best = most(trace, pages);
      const { lower, upper } = optimum(trace, pages, tokens);
      expect(best).toBeLessThanOrEqual(upper + 1e-9);
      expect(lower).toBeLessThanOrEqual(upper + 1e-9);
      tried += 1;
      if (upper <= 1.15 * best + 0.1) reached += 1;
    }),
    { numRuns: 60, seed: 3 },
  );
  expect(reached / tried).toBeGreaterThan(0.8);
});

it('what nothing lies between is found in any pool that holds the requests', () => {
  expect(optimum(traceOf([[0, 1], [0]]), 3, tokens)).toEqual({ upper: 1, lower: 1 });
  expect(() => optimum(traceOf([[0, 1]]), 2, tokens)).toThrow('larger than the pool');
});
