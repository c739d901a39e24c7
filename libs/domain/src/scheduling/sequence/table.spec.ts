import { describe, expect, it } from 'vitest';

import type { PageChange } from '../step.js';
import { blockOf, cachedBlocks, cut, type HeldRaw, type HeldSegment } from './held.js';
import type { PageSource } from './page-source.js';
import { SequenceTable, type TableWork } from './table.js';

const SHAPE = { blockTokens: 16, pagesPerBlock: 8 };
const raw = (start: number, blocks: number[], tokens: number, cached = 0): HeldRaw => ({
  ...{ kind: 'raw', picture: undefined, start, blocks, tokens, cached },
});
const stored = (start: number, pages: number[], picture?: number): HeldSegment => ({
  ...{ kind: 'stored', picture, start, pages, tokens: 20, format: 3 },
});
const count = (length: number, from = 0): number[] => Array.from({ length }, (_, at) => from + at);

function tableOf(...segments: readonly HeldSegment[]): SequenceTable {
  const table = new SequenceTable(SHAPE);
  for (const segment of segments) table.push(segment);
  return table;
}

/** Gives blocks from 50 and pages from 500 on, and writes down what was asked for. */
function work() {
  const log: string[] = [];
  const changes: PageChange[] = [];
  let next = 0;
  const take = (what: string, first: number, length: number) => {
    log.push(`${length} ${what}`);
    next += length;
    return count(length, first + next - length);
  };
  const source = {
    takeBlocks: (blocks: number) => take('blocks', 50, blocks),
    takePages: (pages: number) => take('pages', 500, pages),
    release: (runs: readonly number[]) => log.push(`release ${runs.join(' ')}`),
  } as unknown as PageSource;
  return { log, changes, source, place: { slot: 7, source, changes } satisfies TableWork };
}

describe('a sequence’s table', () => {
  it('goes on in its last segment', () => {
    const table = tableOf(raw(0, [1], 16, 1));
    table.extend(table.last as HeldRaw, [2, 3], 20, 1);
    expect(table.segments).toEqual([raw(0, [1, 2, 3], 36, 2)]);
    expect([table.pageCount, table.cachedBlocksAtEnd, table.runs]).toEqual([24, 2, [8, 16, 24]]);
    table.push(stored(36, count(11, 80)));
    expect([table.pageCount, table.cachedBlocksAtEnd, table.runs]).toEqual([35, 0, [8, 16, 24, 80, 88]]);
    expect(table.pages).toEqual([...count(24, 8), ...count(11, 80)]);
    table.clear();
    expect([table.pageCount, table.segments, table.last]).toEqual([0, [], undefined]);
  });

  it('puts what is stored and its rest rows where a span stood', () => {
    const table = tableOf(raw(0, [1], 10), raw(10, [2, 3], 20), raw(30, [4], 5));
    const { place, changes, log } = work();
    expect(table.compress(1, { format: 3, pages: 5 }, [0, 19], place)).toEqual(raw(10, [2, 3], 20));
    const [pages, blocks] = [count(5, 500), [55]];
    expect(table.segments).toEqual([
      raw(0, [1], 10),
      { ...stored(10, pages), tokens: 18 },
      raw(10, blocks, 2),
      raw(30, [4], 5),
    ]);
    expect(changes).toEqual([
      { kind: 'compress', slot: 7, segment: 1, format: 3, pages, blocks, restRows: [0, 19] },
    ]);
    expect([table.pageCount, log]).toEqual([8 + 5 + 8 + 8, ['5 pages', '1 blocks', 'release 16 24']]);
    expect(() => table.compress(9, { format: 3, pages: 5 }, [], place)).toThrow('no span');
  });

  it('cuts raw rows at a block’s edge, and nothing else', () => {
    const table = tableOf(stored(0, [1]), raw(20, [1, 2, 3], 40, 2));
    const { place, changes } = work();
    table.split(1, 16, place);
    expect(table.segments.slice(1)).toEqual([raw(20, [1], 16, 1), raw(36, [2, 3], 24, 1)]);
    expect(changes).toEqual([{ kind: 'split', slot: 7, segment: 1, tokens: 16 }]);
    for (const at of [0, 9])
      expect(() => {
        table.split(at, 16, place);
      }).toThrow('only raw rows');
    expect(cut(raw(0, [1, 2], 20, 1), 1, SHAPE).map(({ cached }) => cached)).toEqual([1, 0]);
    expect(cut(raw(0, [1, 2], 20, 0), 1, SHAPE).map(({ cached }) => cached)).toEqual([0, 0]);
  });

  it('is told to an engine as it is', () => {
    const { changes } = work();
    tableOf(stored(0, [1, 2], 0), raw(0, [5], 2)).attachAll(7, changes);
    expect(changes).toEqual([
      { kind: 'attachStored', slot: 7, format: 3, tokens: 20, pages: [1, 2] },
      { kind: 'segment', slot: 7 },
      { kind: 'attachBlocks', slot: 7, segment: 1, tokens: 2, blocks: [5] },
    ]);
  });

  it('comes back in fresh pages, equal tails one after the other, whole blocks first', () => {
    const table = tableOf(
      stored(0, count(3)),
      raw(20, [1, 2], 20, 2),
      stored(40, count(9)),
      stored(60, count(11)),
    );
    const { source, log } = work();
    table.restore(source);
    expect(log).toEqual(['2 blocks', '9 pages', '3 pages', '11 pages']);
    expect(table.segments).toEqual([
      stored(0, count(3, 511)),
      raw(20, [50, 51], 20, 0),
      stored(40, count(9, 502)),
      stored(60, count(11, 514)),
    ]);
    expect(table.pageCount).toBe(3 + 16 + 9 + 11);
  });

  it('finds the block of text, while that is raw, and the whole of a span', () => {
    const table = tableOf(raw(0, [1, 2], 32), stored(32, [9], 0), raw(32, [5], 2), raw(54, [6, 7], 20));
    expect([0, 16, 54, 70].map((start) => table.textContent(start))).toEqual(
      [1, 2, 6, 7].map((block) => ({ kind: 'text', block })),
    );
    expect(tableOf(stored(0, [1])).textContent(0)).toBeUndefined();
    expect(tableOf(raw(0, [1], 16)).textContent(16)).toBeUndefined();
    expect(tableOf().textContent(0)).toBeUndefined();
    expect(table.spanContent('picture', 32)).toEqual({
      kind: 'picture',
      stored: { format: 3, tokens: 20, pages: [9] },
      raw: { tokens: 2, blocks: [5] },
    });
    expect(tableOf(raw(0, [1, 2], 20)).spanContent('picture', 0)).toEqual({
      kind: 'picture',
      stored: undefined,
      raw: { tokens: 20, blocks: [1, 2] },
    });
    expect(tableOf(stored(0, [1])).spanContent('run', 0)).toMatchObject({ kind: 'run', raw: undefined });
  });
});

describe('what is held', () => {
  it('has the cache’s blocks where it is raw', () => {
    expect([
      cachedBlocks(raw(0, [1, 2], 20, 1)),
      cachedBlocks(stored(0, [1])),
      cachedBlocks(undefined),
    ]).toEqual([1, 0, 0]);
  });

  it('is gone on in where it is text alone', () => {
    expect(blockOf({ kind: 'text', block: 4 })).toBe(4);
    expect(() => blockOf({ kind: 'picture', stored: undefined, raw: undefined })).toThrow(
      'only a block of text',
    );
  });
});
