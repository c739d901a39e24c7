import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Change, Changes, deltaText, listText } from './changes.js';

interface Item {
  readonly id: string;
  readonly load: number;
}

describe('changes', () => {
  it('lead a reader of them to the same list, whatever comes and goes', () => {
    const lists = fc.array(
      fc.uniqueArray(fc.record({ id: fc.constantFrom('a', 'b', 'c', '"'), load: fc.nat(2) }), {
        selector: ({ id }) => id,
      }),
    );
    fc.assert(
      fc.property(lists, (states) => {
        const changes = new Changes<string, Item>(({ id }) => id);
        const reader = new Map<string, Item>();
        for (const items of states) {
          const { changed, gone } = changes.look(items);
          for (const id of gone) expect(reader.delete(id)).toBe(true);
          for (const item of changed.map((text) => JSON.parse(text) as Item)) {
            expect(reader.get(item.id)).not.toEqual(item);
            reader.set(item.id, item);
          }
          expect([...reader.values()].sort(byId)).toEqual([...items].sort(byId));
        }
      }),
      { numRuns: 200, seed: 15 },
    );
  });

  it('of one thing are told once', () => {
    const change = new Change();
    expect([{ a: 1 }, { a: 1 }, { a: 2 }].map((item) => change.look(item))).toEqual([
      '{"a":1}',
      undefined,
      '{"a":2}',
    ]);
  });

  it('make a delta of those parts that have changed, and none of nothing', () => {
    expect(deltaText({ totals: undefined, workers: listText([]) }, 1)).toBeUndefined();
    const text = deltaText({ totals: '{"queued":1}', gone_workers: listText(['"a"']) }, 1.5);
    expect(JSON.parse(text ?? '')).toEqual({
      ...{ object: 'cluster.delta', at: 1.5 },
      ...{ totals: { queued: 1 }, gone_workers: ['a'] },
    });
  });
});

const byId = (a: Item, b: Item) => (a.id < b.id ? -1 : 1);
