import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { cacheDomain, ContentChain, type ContentName, rootName, textName } from '../identity/index.js';
import { fullRuns } from '../testing/full-runs.js';
import { pageRuns, PagePool } from './page-pool.js';
import { type CacheEntry, PrefixCache } from './prefix-cache.js';

const ROOT = rootName({
  ...{ modelRevision: 'm', precision: 'f', imageProcessor: 'p' },
  ...{ arithmetic: 'a', domain: cacheDomain('t', '') },
});

function textChain(tokenIds: readonly number[]): ContentChain {
  return new ContentChain(
    ROOT,
    [{ start: 0, length: tokenIds.length, picture: undefined }],
    [],
    tokenIds,
    16,
  );
}

const range = (count: number, from = 0): number[] =>
  Array.from({ length: count }, (_, index) => index + from);

/** Computes what is missing of a text and leaves it in the cache. Returns the entries in use and the private runs. */
function compute(pool: PagePool, cache: PrefixCache, tokenIds: readonly number[]) {
  const chain = textChain(tokenIds);
  const { entries, tokens, partial } = cache.match(chain, tokenIds.length - 1);
  if (partial) cache.leave([partial.entry]);
  const runs = entries.flatMap((entry) => entry.runs);
  pool.share(runs);
  const used: CacheEntry[] = [...entries];
  for (const unit of chain.units.slice(entries.length)) {
    const block = take(pool, cache);
    runs.push(block * 8);
    const entry = cache.insert(unit, { kind: 'text', block });
    if (entry) used.push(entry);
  }
  return { used, runs, tokens };
}

/** What somebody uses: entries, runs, and pages of the picture if it is one. */
interface Holder {
  readonly used: readonly CacheEntry[];
  readonly runs: readonly number[];
  readonly picture?: number;
}

/** A picture that nobody has shown before, stored in so many pages beside one block of rows. */
function showPicture(pool: PagePool, cache: PrefixCache, name: string, storedPages: number): Holder {
  const block = take(pool, cache);
  let pages = storedPages > 0 ? pool.allocatePages(storedPages) : [];
  while (!pages) {
    if (!cache.evict()) throw new Error('nothing is left to evict');
    pages = pool.allocatePages(storedPages);
  }
  const unit = { name: name as ContentName, parent: ROOT, tokenIds: range(40) };
  const stored = storedPages > 0 ? { format: 0, tokens: 30, pages } : undefined;
  const entry = cache.insert(unit, { kind: 'picture', stored, raw: { tokens: 10, blocks: [block] } });
  const runs = [...pageRuns(pages, 8), block * 8];
  return { used: entry ? [entry] : [], runs, picture: storedPages + 8 };
}

function take(pool: PagePool, cache: PrefixCache): number {
  for (;;) {
    const [block] = pool.allocateBlocks(1) ?? [];
    if (block !== undefined) return block;
    if (!cache.evict()) throw new Error('nothing is left to evict');
  }
}

describe('PrefixCache', () => {
  it('finds the longest prefix, and the block that goes on alike', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    const { used, runs } = compute(pool, cache, range(48));
    cache.leave(used);
    pool.release(runs);
    expect([cache.idlePages, pool.availableBlocks, pool.heldPages]).toEqual([24, 8, 24]);
    const match = cache.match(textChain([...range(20), 999, ...range(20)]), 40);
    expect(match).toMatchObject({ tokens: 16, partial: { tokens: 4 } });
    expect([cache.idlePages, cache.count(textChain(range(40)))]).toEqual([8, 2]);
  });

  it('finds runs, and the blocks that one began with, but for the run’s last token', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    const segments = [{ start: 0, length: 64, picture: undefined }];
    const runs = { tokens: 32, form: { codec: 'q8', profileId: '' } };
    const chainOf = (tokenIds: readonly number[]) => new ContentChain(ROOT, segments, [], tokenIds, 16, runs);
    const [first] = chainOf(range(64)).units;
    const pages = pool.allocatePages(5) ?? [];
    if (!first) throw new Error('no run');
    cache.insert(first, { kind: 'run', stored: { format: 1, tokens: 32, pages }, raw: undefined });
    // the second run, as a request left it that ended before its last token was stored
    let parent = first.name;
    for (const start of [32, 48]) {
      const tokenIds = range(16, start);
      const name = textName(parent, tokenIds);
      cache.insert({ name, parent, tokenIds }, { kind: 'text', block: take(pool, cache) });
      parent = name;
    }
    const found = (tokenIds: readonly number[], limit: number) => {
      const { tokens, partial, entries } = cache.match(chainOf(tokenIds), limit);
      return [tokens, partial?.tokens, entries.map(({ content }) => content.kind)];
    };
    expect(found(range(70), 69)).toEqual([48, 15, ['run', 'text']]);
    expect(found([...range(40), 999, ...range(40)], 80)).toEqual([32, 8, ['run']]);
    expect(found(range(33), 32)).toEqual([32, undefined, ['run']]);
    expect(found(range(32), 31)).toEqual([0, undefined, []]);
    // raw text of the same tokens is other content
    expect(cache.match(textChain(range(70)), 69)).toMatchObject({ tokens: 0, partial: undefined });
  });

  it('never answers with more than the limit', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    compute(pool, cache, range(48));
    expect(cache.match(textChain(range(48)), 47)).toMatchObject({ tokens: 32, partial: { tokens: 15 } });
    expect(cache.match(textChain(range(16)), 15)).toMatchObject({ tokens: 0, partial: { tokens: 15 } });
    expect(cache.match(textChain([5]), 0)).toEqual({ entries: [], tokens: 0, partial: undefined });
  });

  it('evicts ends before beginnings, what is cheap before what is dear, and nothing in use', () => {
    const pool = new PagePool(16, 8);
    const cache = new PrefixCache(pool);
    const pages = pool.allocatePages(4) ?? [];
    const picture = {
      ...{ name: 'picture' as ContentName, parent: ROOT, tokenIds: range(40) },
    };
    const dear = cache.insert(picture, {
      kind: 'picture',
      stored: { format: 0, tokens: 40, pages },
      raw: undefined,
    });
    const text = compute(pool, cache, range(32));
    const busy = compute(pool, cache, range(16, 100));
    cache.leave(dear ? [dear] : []);
    pool.release(pages.slice(0, 1));
    cache.leave(text.used);
    pool.release(text.runs);
    const kept = () => [cache.count(textChain(range(32))), cache.idlePages];
    expect(kept()).toEqual([2, 20]);
    expect([cache.evict(), ...kept()]).toEqual([true, 1, 12]);
    expect([cache.evict(), ...kept()]).toEqual([true, 0, 4]);
    expect([cache.evict(), ...kept()]).toEqual([true, 0, 0]);
    expect(cache.evict()).toBe(false);
    expect([pool.heldPages, cache.size]).toEqual([busy.runs.length * 8, 1]);
  });

  it('lets what was dear grow old', () => {
    const pool = new PagePool(4, 8);
    const cache = new PrefixCache(pool);
    const pages = pool.allocatePages(4) ?? [];
    const unit = { name: 'picture' as ContentName, parent: ROOT, tokenIds: range(40) };
    const dear = cache.insert(unit, {
      kind: 'picture',
      stored: { format: 0, tokens: 40, pages },
      raw: undefined,
    });
    cache.leave(dear ? [dear] : []);
    pool.release(pages.slice(0, 1));
    for (let round = 0; round < 100; round += 1) {
      const { used, runs } = compute(pool, cache, range(16, round * 100));
      cache.leave(used);
      pool.release(runs);
    }
    expect(cache.insert(unit, { kind: 'text', block: take(pool, cache) })).toBeDefined();
  });

  it('keeps references, idle pages and content right over random operations', () => {
    const texts = fc.array(
      fc.record({
        fork: fc.nat(70),
        length: fc.integer({ min: 1, max: 90 }),
        drop: fc.nat(),
        leave: fc.boolean(),
        picturePages: fc.nat(12),
      }),
      { minLength: 30, maxLength: 60 },
    );
    let operations = 0;
    fc.assert(
      fc.property(texts, fc.integer({ min: 14, max: 30 }), (script, blocks) => {
        const pool = new PagePool(blocks, 8);
        const cache = new PrefixCache(pool);
        const holders: Holder[] = [];
        for (const [index, { fork, length, drop, leave, picturePages }] of script.entries()) {
          const tokenIds = range(length).map((at) => (at < fork ? at : at + fork * 100));
          const room = pool.availableBlocks;
          if (room > length / 16) holders.push(compute(pool, cache, tokenIds));
          if (pool.availableBlocks > 2) holders.push(showPicture(pool, cache, `p${index}`, picturePages));
          if ((leave || room <= 6) && holders.length > 0) {
            const [left] = holders.splice(drop % holders.length, 1);
            cache.leave(left?.used ?? []);
            pool.release(left?.runs ?? []);
          }
          const blocks = new Set(holders.flatMap(({ picture, runs }) => (picture ? [] : runs)));
          const pages = holders.reduce((sum, { picture = 0 }) => sum + picture, 0);
          expect(pool.heldPages).toBe(blocks.size * 8 + pages + cache.idlePages);
          operations += 1;
        }
        const { availableBlocks } = pool;
        while (cache.evict());
        expect([pool.freeBlocks, pool.availableBlocks]).toEqual([availableBlocks, availableBlocks]);
        for (const { used, runs } of holders) {
          cache.leave(used);
          pool.release(runs);
        }
        expect(pool.heldPages).toBe(cache.idlePages);
        while (cache.evict());
        expect([pool.freePages, cache.size, cache.idlePages]).toEqual([pool.capacityPages, 0, 0]);
      }),
      { numRuns: fullRuns(300, 30_000), seed: 6 },
    );
    expect(operations).toBeGreaterThan(fullRuns(10_000, 1_000_000));
  }, 1_800_000);
});
