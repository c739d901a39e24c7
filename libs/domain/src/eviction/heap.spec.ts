import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { Heap } from './heap.js';

describe('Heap', () => {
  it('gives the smallest of what was pushed and not taken out, each once', () => {
    const command = fc.record({ do: fc.constantFrom('push', 'push', 'take', 'delete'), item: fc.nat(40) });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80, size: 'max' }), (commands) => {
        const heap = new Heap<number>((a, b) => a < b);
        const take = () => {
          const { first } = heap;
          if (first !== undefined) heap.delete(first);
          return first;
        };
        const items = new Set<number>();
        for (const { do: verb, item } of commands) {
          const least = items.size === 0 ? undefined : Math.min(...items);
          if (verb === 'push') heap.push(item);
          else if (verb === 'delete') heap.delete(item);
          else expect(take()).toBe(least);
          if (verb === 'push') items.add(item);
          else items.delete(verb === 'delete' ? item : (least ?? -1));
        }
        const left = Array.from({ length: items.size }, () => take());
        expect([left, take()]).toEqual([[...items].sort((a, b) => a - b), undefined]);
      }),
      { numRuns: 300, seed: 13 },
    );
  });
});
