import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { EVICTION_POLICIES, type EvictionPolicy, RebuildCosts } from '../eviction/index.js';
import {
  cacheDomain,
  ContentChain,
  type ContentName,
  type ContentUnit,
  rootName,
  textName,
} from '../identity/index.js';
import { CacheLog } from '../owners/index.js';
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

const textUnit = (parent: ContentName, tokenIds: readonly number[]): ContentUnit => ({
  ...{ name: textName(parent, tokenIds), parent, tokenIds },
  ...{ start: 0, picture: undefined, run: false },
});

const isKept = (cache: PrefixCache, name: ContentName): boolean =>
  cache.count({ units: [{ ...textUnit(ROOT, []), name }] }) > 0;

/** A block of text and a picture that follows it, both in use by the caller of the cache. */
function followed() {
  const pool = new PagePool(8, 8);
  const cache = new PrefixCache(pool);
  const [first] = CHAIN.units;
  const parent = first && cache.insert(first, { kind: 'text', block: take(pool, cache) });
  const raw = { tokens: 16, blocks: [take(pool, cache)] };
  const next = { name: 'picture' as ContentName, parent: first?.name ?? ROOT, tokenIds: range(40) };
  const child = cache.insert(next, { kind: 'picture', stored: undefined, raw });
  if (!parent || !child) throw new Error('they are there already');
  return { pool, cache, parent, child };
}

const CHAIN = textChain(range(16));

describe('PrefixCache', () => {
  it('finds the longest prefix, and the block that goes on alike', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    const { used, runs } = compute(pool, cache, range(48));
    cache.leave(used);
    pool.release(runs);
    expect([cache.idlePages, pool.availableBlocks, pool.heldPages]).toEqual([24, 8, 24]);
    expect([cache.idleTokens, [...cache.idleRuns()].sort((a, b) => a - b)]).toEqual([
      48,
      [...runs].sort((a, b) => a - b),
    ]);
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
    expect(found(range(70), 47)).toEqual([32, 15, ['run']]);
    expect(found(range(48), 48)).toEqual([48, undefined, ['run', 'text']]);
    expect(found(range(33), 32)).toEqual([32, undefined, ['run']]);
    expect(found(range(32), 31)).toEqual([0, undefined, []]);
    // raw text of the same tokens is other content
    expect(cache.match(textChain(range(70)), 69)).toMatchObject({ tokens: 0, partial: undefined });
  });

  it('copies a block of a run that is not full, and never goes on in it', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    const segments = [{ start: 0, length: 100, picture: undefined }];
    const runs = { tokens: 32, form: { codec: 'q8', profileId: '' } };
    const full = textName(ROOT, range(16));
    cache.insert(textUnit(ROOT, range(16)), { kind: 'text', block: take(pool, cache) });
    cache.insert(textUnit(full, range(15, 16)), { kind: 'text', block: take(pool, cache) });
    const match = cache.match(new ContentChain(ROOT, segments, [], range(100), 16, runs), 99);
    expect(match).toMatchObject({ tokens: 16, partial: { tokens: 15 } });
    expect(match.entries).toHaveLength(1);
  });

  it('does not go on in text that has the token ids of a picture which is not there', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    compute(pool, cache, range(16));
    const segments = [
      { start: 0, length: 10, picture: 0 },
      { start: 10, length: 20, picture: undefined },
    ];
    const shown = { contentSha256: Uint8Array.of(1), codec: 'raw', profileId: '' };
    const chain = new ContentChain(ROOT, segments, [shown], range(30), 16);
    expect(cache.match(chain, 29)).toEqual({ entries: [], tokens: 0, partial: undefined });
  });

  it('finds each of several texts that begin differently, also when others have gone', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    const starts = [0, 100, 200];
    for (const start of starts) {
      const { used, runs } = compute(pool, cache, range(16, start));
      cache.leave(used);
      pool.release(runs);
    }
    const found = () =>
      starts.map((start) => {
        const { partial } = cache.match(textChain(range(10, start)), 9);
        cache.leave(partial ? [partial.entry] : []);
        return partial?.tokens;
      });
    expect(found()).toEqual([9, 9, 9]);
    cache.evict();
    expect(found()).toEqual([9, 9, undefined]);
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

  it('evicts what costs least a page first: pictures are dearer than text, and the latest of equals goes', () => {
    const pool = new PagePool(16, 8);
    const cache = new PrefixCache(
      pool,
      EVICTION_POLICIES['greedy-dual-size']<CacheEntry>(new RebuildCosts().of),
    );
    const kept = new Map<string, ContentName>();
    const keep = (is: string, tokens: number, kind: 'text' | 'run' | 'picture') => {
      const name = is as ContentName;
      const block = take(pool, cache);
      const pages = kind === 'run' ? (pool.allocatePages(1) ?? []) : [];
      const stored = kind === 'run' ? { format: 0, tokens, pages } : undefined;
      const span = { kind: 'run' as const, stored, raw: { tokens, blocks: [block] } };
      const content = kind === 'text' ? { kind, block } : { ...span, kind };
      const entry = cache.insert({ name, parent: ROOT, tokenIds: range(tokens) }, content);
      cache.leave(entry ? [entry] : []);
      pool.release([block * 8, ...pages]);
      kept.set(is, name);
    };
    keep('text', 16, 'text');
    keep('later text', 16, 'text');
    keep('short text', 4, 'text');
    keep('picture', 16, 'picture');
    // 32 tokens on nine pages
    keep('run', 32, 'run');
    const order: string[] = [];
    while (cache.evict()) {
      for (const [is, name] of kept) {
        if (isKept(cache, name)) continue;
        order.push(is);
        kept.delete(is);
      }
    }
    expect(order).toEqual(['short text', 'later text', 'text', 'run', 'picture']);
    expect([cache.evictedPages, pool.heldPages]).toEqual([4 * 8 + 9, 0]);
  });

  it('evicts the latest of equals first, in whatever order they were left', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    const texts = range(5).map((at) => compute(pool, cache, range(16, 100 * at)));
    for (const at of [3, 0, 4, 1, 2]) {
      cache.leave(texts[at]?.used ?? []);
      pool.release(texts[at]?.runs ?? []);
    }
    const left: number[][] = [];
    while (cache.evict()) left.push(range(5).filter((at) => cache.count(textChain(range(16, 100 * at))) > 0));
    expect(left).toEqual([[0, 1, 2, 3], [0, 1, 2], [0, 1], [0], []]);
  });

  it('keeps what a dearer one follows until that has gone', () => {
    const { cache, parent, child } = followed();
    cache.leave([parent]);
    cache.leave([child]);
    expect([cache.evict(), cache.count(CHAIN), cache.evict(), cache.size]).toEqual([true, 1, true, 0]);
  });

  it.each([
    ['goes alone while what follows it is in use', false, [[false, true]]],
    [
      'stays until what follows it has gone, also when it came back later',
      true,
      [
        [true, false],
        [false, false],
      ],
    ],
  ])('a beginning %s', (_, childIsIdle, left) => {
    const { pool, cache, parent, child } = followed();
    // whoever goes on with the end alone has compressed the beginning
    cache.leave([parent]);
    expect([cache.evict(), cache.count(CHAIN)]).toEqual([true, 0]);
    if (childIsIdle) cache.leave([child]);
    const again = cache.insert(parent, { kind: 'text', block: take(pool, cache) });
    cache.leave(again ? [again] : []);
    const seen: boolean[][] = [];
    while (cache.evict()) seen.push([parent, child].map(({ name }) => isKept(cache, name)));
    expect(seen).toEqual(left);
  });

  it('says which runs of pages it holds', () => {
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool);
    const { used, runs } = compute(pool, cache, range(16));
    const holds = () => [...runs, 8].map(cache.holds);
    expect(holds()).toEqual([true, false]);
    cache.leave(used);
    pool.release(runs);
    cache.evict();
    expect(holds()).toEqual([false, false]);
  });

  it('writes in its log what comes and what goes, and says there what it holds', () => {
    const log = new CacheLog();
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool, undefined, log);
    const reader = log.read();
    reader.next(9);
    const text = compute(pool, cache, range(32));
    const shown = showPicture(pool, cache, 'shown', 3);
    const told = () => reader.next(9)?.changes;
    const [first, second] = textChain(range(32)).units;
    const block = { kind: 'text', tokens: 16, pages: 8 } as const;
    const items = [
      { name: first?.name, ...block },
      { name: second?.name, ...block },
      { name: 'shown', kind: 'picture', tokens: 40, pages: 11 },
    ];
    expect(told()).toEqual(items.map((item) => ({ kind: 'stored', item })));
    expect(log.read().next(9)?.changes).toEqual(items.map((item) => ({ kind: 'stored', item })));
    cache.leave([...text.used, ...shown.used]);
    cache.evict();
    cache.evict();
    expect(told()).toEqual([second, first].map((unit) => ({ kind: 'removed', name: unit?.name })));
    expect(log.read().next(9)?.changes).toEqual([{ kind: 'stored', item: items[2] }]);
  });

  it('tells the policy of an entry’s whole life, and of a use only when a request begins with it', () => {
    const told: string[] = [];
    const verbs = ['insert', 'use', 'leave', 'offer', 'withdraw', 'evict'] as const;
    const hear = (verb: string) =>
      [verb, (entry: CacheEntry) => told.push(`${verb} ${entry.serial}`)] as const;
    const kept: CacheEntry[] = [];
    const policy = { ...Object.fromEntries(verbs.map(hear)), victim: () => kept[0] };
    const pool = new PagePool(8, 8);
    const cache = new PrefixCache(pool, policy as unknown as EvictionPolicy<CacheEntry>);
    const { used, runs } = compute(pool, cache, range(16));
    kept.push(...used);
    cache.leave(used);
    pool.release(runs);
    const { entries } = cache.match(CHAIN, 16);
    // it does not fit
    cache.leave(entries);
    const again = cache.match(CHAIN, 16);
    cache.begin(again.entries);
    cache.leave(again.entries);
    cache.evict();
    const found = ['withdraw 0', 'leave 0', 'offer 0'];
    expect(told).toEqual([
      ...['insert 0', 'leave 0', 'offer 0', ...found, 'withdraw 0', 'use 0', 'leave 0', 'offer 0'],
      ...['evict 0', 'withdraw 0'],
    ]);
  });

  it('lets what was dear grow old by a policy that does', () => {
    const pool = new PagePool(4, 8);
    const policy = EVICTION_POLICIES['greedy-dual-size']<CacheEntry>(new RebuildCosts().of);
    const cache = new PrefixCache(pool, policy);
    const pages = pool.allocatePages(4) ?? [];
    const unit = { name: 'picture' as ContentName, parent: ROOT, tokenIds: range(16) };
    const dear = cache.insert(unit, {
      kind: 'picture',
      stored: { format: 0, tokens: 16, pages },
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

  const policies = Object.entries(EVICTION_POLICIES);

  it.each(policies)(
    'keeps references, idle pages and content right over random operations: %s',
    (_, create) => {
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
          const cache = new PrefixCache(pool, create<CacheEntry>(new RebuildCosts().of));
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
          expect([pool.freePages, cache.size, cache.idlePages, cache.idleTokens]).toEqual([
            ...[pool.capacityPages, 0, 0, 0],
          ]);
        }),
        { numRuns: fullRuns(100, 10_000), seed: 6 },
      );
      expect(operations).toBeGreaterThan(fullRuns(3_000, 300_000));
    },
    1_800_000,
  );
});
