import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fullRuns } from '../testing/full-runs.js';
import { pageRuns, PagePool } from './page-pool.js';

describe('PagePool', () => {
  it('gives all or nothing', () => {
    const pool = new PagePool(4, 8);
    expect(pool.allocateBlocks(3)).toHaveLength(3);
    expect(pool.allocateBlocks(2)).toBeUndefined();
    expect(pool.allocatePages(9)).toBeUndefined();
    expect([pool.freeBlocks, pool.freePages, pool.heldPages]).toEqual([1, 8, 24]);
  });

  it.each([
    [0, 8],
    [1.5, 8],
    [1, 0],
    [1, 9],
  ])('is not made of %d blocks of %d pages', (blocks, pagesPerBlock) => {
    expect(() => new PagePool(blocks, pagesPerBlock)).toThrow(RangeError);
  });

  it('takes natural numbers alone for what is wanted', () => {
    const pool = new PagePool(2, 8);
    for (const count of [-1, 0.5]) expect(() => pool.allocateBlocks(count)).toThrow(RangeError);
    for (const pages of [0, -1, 1.5]) expect(() => pool.allocatePages(pages)).toThrow(RangeError);
    expect([pool.allocateBlocks(0), pool.allocatePages(1), pool.heldPages]).toEqual([[], [0], 1]);
  });

  it('has blocks of one page, which leave no tails', () => {
    const pool = new PagePool(3, 1);
    expect([pool.allocatePages(2), pool.allocateBlocks(1), pool.allocatePages(1)]).toEqual([
      [0, 1],
      [2],
      undefined,
    ]);
    pool.release([1]);
    expect([pool.freePages, pool.freeBlocks, pool.allocateBlocks(1)]).toEqual([1, 1, [1]]);
  });

  it('gives the block out again that was given back last, as its memory is warm', () => {
    const pool = new PagePool(4, 8);
    expect(pool.allocateBlocks(3)).toEqual([0, 1, 2]);
    pool.release([8]);
    expect(pool.allocateBlocks(2)).toEqual([1, 3]);
  });

  it('lays tails together and keeps whole blocks free', () => {
    const pool = new PagePool(4, 8);
    const stored = [11, 3, 2].map((pages) => pool.allocatePages(pages) ?? []);
    const tails = stored.map((pages) => Math.floor((pages.at(-1) ?? 0) / 8));
    expect(new Set(tails).size).toBe(1);
    expect(stored[0]?.slice(0, 8)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([pool.freeBlocks, pool.freePages]).toEqual([2, 16]);
    expect([pool.tailTakesBlock(0), pool.tailTakesBlock(1)]).toEqual([false, true]);
  });

  it('puts a tail into the hole that it leaves least of', () => {
    const pool = new PagePool(3, 8);
    const tails = [3, 1, 2, 2].map((pages) => pool.allocatePages(pages) ?? []);
    pool.release([tails[0]?.[0] ?? -1, tails[2]?.[0] ?? -1]);
    expect(pool.allocatePages(2)).toEqual(tails[2]);
    expect(pool.allocatePages(2)).toEqual(tails[0]?.slice(0, 2));
  });

  it.each([
    ['a shorter one before a longer one', [2, 1, 3, 2], [0, 2]],
    ['the first of equal ones', [2, 1, 2, 3], [0, 2]],
  ])('of the holes in one block takes %s', (_, sizes, freed) => {
    const pool = new PagePool(1, 8);
    const tails = sizes.map((pages) => pool.allocatePages(pages) ?? []);
    pool.release(freed.map((at) => tails[at]?.[0] ?? -1));
    expect(pool.allocatePages(2)).toEqual(tails[0]);
  });

  it('lays a tail beside what is idle where there is no other room', () => {
    const pool = new PagePool(1, 8);
    pool.setIdle(pool.allocatePages(3)?.slice(0, 1) ?? [], true);
    expect([pool.allocatePages(6), pool.allocatePages(5)]).toEqual([undefined, [3, 4, 5, 6, 7]]);
  });

  it('counts a block as available when all that is held there is idle', () => {
    const pool = new PagePool(2, 8);
    const [a = -1, b = -1] = [3, 5].map((pages) => pool.allocatePages(pages)?.[0]);
    const available = () => [pool.availableBlocks, pool.tailTakesBlock(1)];
    expect(available()).toEqual([1, true]);
    pool.setIdle([a], true);
    expect(available()).toEqual([1, true]);
    pool.setIdle([b], true);
    expect(available()).toEqual([2, true]);
    pool.share([a]);
    expect(available()).toEqual([1, true]);
    pool.release([a]);
    pool.release([b]);
    // room beside what is idle costs the block, room beside what is pinned costs nothing
    expect([...available(), pool.freeBlocks]).toEqual([2, true, 1]);
    pool.setIdle([a], false);
    expect([pool.tailTakesBlock(5), pool.tailTakesBlock(6)]).toEqual([false, true]);
  });

  it('lays a tail beside what is in use before it lays it beside what is idle', () => {
    const pool = new PagePool(3, 8);
    const [idle = [], used = []] = [6, 5].map((pages) => pool.allocatePages(pages));
    pool.setIdle(idle.slice(0, 1), true);
    expect(pool.allocatePages(2)).toEqual(used.slice(0, 2).map((page) => page + 5));
    expect(pool.allocatePages(2)).toEqual(idle.slice(0, 2).map((page) => page + 6));
    expect([pool.freeBlocks, pool.availableBlocks]).toEqual([1, 1]);
  });

  it('frees a run with its last holder', () => {
    const pool = new PagePool(2, 8);
    const pages = pool.allocatePages(10) ?? [];
    const runs = pageRuns(pages, 8);
    pool.share(runs);
    pool.release(runs);
    expect(pool.heldPages).toBe(10);
    pool.release(runs);
    expect([pool.heldPages, pool.freeBlocks]).toEqual([0, 2]);
  });

  it('refuses to share or release what is not held, and changes nothing then', () => {
    const pool = new PagePool(4, 8);
    const [a = -1, b = -1] = pool.allocateBlocks(2) ?? [];
    pool.release([a * 8]);
    expect(() => {
      pool.release([b * 8, a * 8]);
    }).toThrow('not begin');
    expect(() => {
      pool.release([b * 8, b * 8]);
    }).toThrow('not begin');
    expect(() => {
      pool.release([b * 8 + 1]);
    }).toThrow('not begin');
    expect(() => {
      pool.share([b * 8, 99]);
    }).toThrow('not begin');
    expect([pool.heldPages, pool.references(b * 8)]).toEqual([8, 1]);
  });

  it('never gives a page to two runs and keeps every account over random operations', () => {
    const operations = fc.array(
      fc.record({ kind: fc.nat(6), size: fc.integer({ min: 1, max: 21 }), pick: fc.nat() }),
      { minLength: 40, maxLength: 80 },
    );
    let done = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 24 }), operations, (blocks, script) => {
        const pool = new PagePool(blocks, 8);
        const holders: { runs: number[]; pages: number[] }[] = [];
        const idle = new Set<number>();
        for (const { kind, size, pick } of script) {
          if (kind <= 1) {
            const got = kind === 0 ? pool.allocatePages(size) : pool.allocateBlocks(size % 5);
            const pages =
              kind === 0
                ? got
                : got?.flatMap((block) => Array.from({ length: 8 }, (_, at) => block * 8 + at));
            if (!pages) continue;
            holders.push({ runs: pageRuns(pages, 8), pages });
            for (const page of pages) idle.delete(page);
          } else if (holders.length > 0) {
            const at = pick % holders.length;
            const holder = holders[at];
            if (kind === 2 && holder) {
              pool.share(holder.runs);
              holders.push(holder);
            } else if (kind >= 5 && holder) {
              pool.setIdle(holder.runs, kind === 5);
              for (const run of holder.runs) {
                if (kind === 5) idle.add(run);
                else idle.delete(run);
              }
            } else {
              pool.release(holders.splice(at, 1)[0]?.runs ?? []);
            }
          }
          if (done % 8 === 0) checkAccounts(pool, holders, idle);
          done += 1;
        }
        checkAccounts(pool, holders, idle);
      }),
      { numRuns: fullRuns(700, 50_000), seed: 1 },
    );
    expect(done).toBeGreaterThan(fullRuns(25_000, 2_000_000));
  }, 1_800_000);

  it('wastes little on tails when stored spans come and go', () => {
    const pool = new PagePool(200, 8);
    const rows = fc.sample(fc.tuple(fc.integer({ min: 3, max: 12 }), fc.nat()), { numRuns: 4_000, seed: 2 });
    const held: number[][] = [];
    for (const [size, pick] of rows) {
      const pages = held.length < 150 ? pool.allocatePages(size) : undefined;
      if (pages) held.push(pages);
      else pool.release(pageRuns(held.splice(pick % held.length, 1)[0] ?? [], 8));
      // pages that only another tail could use
      const stranded = pool.freePages - pool.freeBlocks * 8;
      if (held.length > 100) expect(stranded / pool.heldPages).toBeLessThan(0.1);
    }
  });
});

/** Everything the pool says, counted from the holders. */
function checkAccounts(
  pool: PagePool,
  holders: readonly { runs: readonly number[]; pages: readonly number[] }[],
  idle: ReadonlySet<number>,
): void {
  const owners = new Map<number, object>();
  const times = new Map<number, number>();
  for (const { runs, pages } of holders) {
    for (const page of pages) {
      if ((owners.get(page) ?? pages) !== pages) throw new Error(`page ${page} is in two runs`);
      if (page < 0 || page >= pool.capacityPages) throw new Error(`page ${page} is out of range`);
      owners.set(page, pages);
    }
    pages.forEach((page, index) => {
      const follows = index % 8 === 0 || (page === (pages[index - 1] ?? 0) + 1 && page % 8 !== 0);
      const aligned = index % 8 !== 0 || pages.length - index < 8 || page % 8 === 0;
      if (!follows || !aligned) throw new Error('a run is not consecutive inside one block');
    });
    for (const run of runs) times.set(run, (times.get(run) ?? 0) + 1);
  }
  for (const [run, count] of times) {
    if (pool.references(run) !== count) throw new Error(`page ${run} has the wrong number of references`);
  }
  const used = new Set([...owners.keys()].map((page) => Math.floor(page / 8)));
  const pinned = new Set(
    [...times].flatMap(([run, count]) => (count === 1 && idle.has(run) ? [] : [Math.floor(run / 8)])),
  );
  expect([pool.heldPages, pool.freePages, pool.freeBlocks, pool.availableBlocks]).toEqual([
    owners.size,
    pool.capacityPages - owners.size,
    pool.blocks - used.size,
    pool.blocks - pinned.size,
  ]);
  const hole = Math.max(0, ...[...pinned].map((block) => longestFree(block, owners)));
  for (let pages = 1; pages < 8; pages += 1) expect(pool.tailTakesBlock(pages)).toBe(pages > hole);
}

/** Pages of a block that are free one after the other, at most. */
function longestFree(block: number, owners: ReadonlyMap<number, object>): number {
  let longest = 0;
  let free = 0;
  for (let page = block * 8; page < block * 8 + 8; page += 1) {
    free = owners.has(page) ? 0 : free + 1;
    longest = Math.max(longest, free);
  }
  return longest;
}
