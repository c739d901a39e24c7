import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { NameTable, type NameWords } from './name-table.js';
import type { SizeCode } from './content-size.js';
import type { Owners } from './owner-sets.js';

// few homes, so that names stand in each other's way
const name = fc.record({ home: fc.nat(5), id: fc.nat(15) });
const action = fc.record({
  act: fc.constantFrom('set', 'set', 'drop', 'revise', 'ask'),
  name,
  owners: fc.nat(3),
});
const wordsOf = ({ home, id }: { home: number; id: number }): NameWords =>
  Uint32Array.of(0, home * 7, id, 0) as NameWords;
const ALL = Array.from({ length: 6 * 16 }, (_, at) => ({ home: at % 6, id: Math.floor(at / 6) }));

describe('NameTable', () => {
  it('finds every name that it holds, as it grows and shrinks', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 150 }), (actions) => {
        const table = new NameTable(1_000, () => expect.unreachable());
        const model = new Map<string, number>();
        const sizes = new Map<string, number>();
        for (const [step, { act, name: at, owners }] of actions.entries()) {
          const key = JSON.stringify(at);
          if (act === 'revise') {
            table.revise((before) => (before === owners + 1 ? 0 : before) as Owners);
            for (const [kept, known] of model) if (known === owners + 1) model.delete(kept);
          } else if (act === 'ask') {
            expect(table.ask(wordsOf(at))).toBe(model.get(key) ?? 0);
          } else {
            const size = (model.has(key) ? sizes.get(key) : step) as SizeCode;
            sizes.set(key, size);
            expect(table.set(wordsOf(at), (act === 'set' ? owners + 1 : 0) as Owners, step as SizeCode)).toBe(
              size,
            );
            if (act === 'set') model.set(key, owners + 1);
            else model.delete(key);
          }
        }
        for (const at of ALL) expect(table.get(wordsOf(at))).toBe(model.get(JSON.stringify(at)) ?? 0);
        expect(table.size).toBe(model.size);
      }),
      { numRuns: 500, seed: 29 },
    );
  });

  it('gives the place of a name that nobody asked for to a new one, and says whose it was', () => {
    fc.assert(
      fc.property(fc.array(name, { maxLength: 100 }), (names) => {
        const gone: number[] = [];
        const table = new NameTable(12, (owners) => gone.push(owners));
        let kept = 0;
        for (const [at, each] of names.entries()) {
          if (table.get(wordsOf(each)) === 0) kept += 1;
          table.set(wordsOf(each), (at + 1) as Owners, 0 as SizeCode);
          table.ask(wordsOf(ALL[0]!));
          expect(table.size).toBeLessThanOrEqual(12);
        }
        expect(table.size).toBe(kept - gone.length);
      }),
      { numRuns: 300, seed: 31 },
    );
  });
});
