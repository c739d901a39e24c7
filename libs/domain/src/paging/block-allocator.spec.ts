import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { BlockAllocator } from './block-allocator.js';

describe('BlockAllocator', () => {
  it('gives all or nothing', () => {
    const pool = new BlockAllocator(4, 8);
    expect(pool.allocate(3)).toHaveLength(3);
    expect(pool.allocate(2)).toBeUndefined();
    expect(pool.freeBlocks).toBe(1);
    expect(pool.heldPages).toBe(24);
  });

  it('refuses to free what is not held, and changes nothing then', () => {
    const pool = new BlockAllocator(4, 8);
    const [a = -1, b = -1] = pool.allocate(2) ?? [];
    pool.free([a]);
    expect(() => pool.free([b, a])).toThrow('not held');
    expect(() => pool.free([b, b])).toThrow('twice');
    expect(() => pool.free([99])).toThrow('not held');
    expect(pool.heldPages).toBe(8);
  });

  it('never gives a block to two holders and keeps free + held = capacity', () => {
    const steps = fc.array(fc.record({ take: fc.boolean(), size: fc.nat(6), pick: fc.nat() }), {
      maxLength: 80,
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 24 }), steps, (blocks, script) => {
        const pool = new BlockAllocator(blocks, 8);
        const holders: number[][] = [];
        for (const { take, size, pick } of script) {
          if (take) {
            const got = pool.allocate(size);
            expect(got === undefined).toBe(size > blocks - holders.flat().length);
            if (got) holders.push(got);
          } else if (holders.length > 0) {
            pool.free(holders.splice(pick % holders.length, 1)[0] ?? []);
          }
          const held = holders.flat();
          expect(new Set(held).size).toBe(held.length);
          expect(held.every((block) => block >= 0 && block < blocks)).toBe(true);
          expect(pool.heldPages).toBe(held.length * 8);
          expect(pool.freePages + pool.heldPages).toBe(pool.capacityPages);
        }
      }),
      { numRuns: 200, seed: 1 },
    );
  });
});
