import { describe, expect, it } from 'vitest';

import type { CachedContent, CacheEntry } from '../paging/index.js';
import { holdingsOf } from './holdings.js';

const SHAPE = { blockTokens: 16, pagesPerBlock: 8 };
const entry = (users: number, tokens: number, content: CachedContent): CacheEntry => ({
  ...({ users, content, tokenIds: Array.from({ length: tokens }, () => 1) } as unknown as CacheEntry),
});

describe('what is held by format', () => {
  const raw = { kind: 'raw', blocks: [1, 2], tokens: 20 } as const;
  const stored = { kind: 'stored', format: 3, pages: [40, 41, 42], tokens: 30 } as const;

  it('is every segment, where nothing is shared', () => {
    const alone = [
      entry(1, 16, { kind: 'text', block: 1 }),
      entry(1, 30, { kind: 'picture', stored, raw: undefined }),
    ];
    expect([...holdingsOf([{ segments: [raw, stored, stored], entries: alone }], SHAPE)]).toEqual([
      [undefined, { pages: 16, tokens: 20, pieces: 2 }],
      [3, { pages: 6, tokens: 60, pieces: 2 }],
    ]);
  });

  it('counts what several share once', () => {
    const shared = [
      entry(3, 16, { kind: 'text', block: 1 }),
      entry(3, 34, { kind: 'picture', stored, raw: { tokens: 4, blocks: [2] } }),
    ];
    const only = [
      entry(3, 30, { kind: 'picture', stored, raw: undefined }),
      entry(3, 20, { kind: 'picture', stored: undefined, raw }),
    ];
    const parts = { segments: [raw, stored], entries: only };
    expect([...holdingsOf([parts, parts, parts], SHAPE).values()].map(({ pages }) => pages)).toEqual([16, 3]);
    const holder = { segments: [raw, stored], entries: shared };
    expect([...holdingsOf([holder, holder, holder], SHAPE)]).toEqual([
      [undefined, { pages: 16, tokens: 20, pieces: 2 }],
      [3, { pages: 3, tokens: 30, pieces: 1 }],
    ]);
  });

  it('is nothing in a format that nobody holds', () => {
    expect([...holdingsOf([{ segments: [{ ...raw, blocks: [], tokens: 0 }], entries: [] }], SHAPE)]).toEqual(
      [],
    );
  });
});
