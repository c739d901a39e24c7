import { describe, expect, it, vi } from 'vitest';

import { spanAt, StoredBlocks } from './spans.js';

const SHAPE = { blockTokens: 16, pagesPerBlock: 8 };

describe('blocks of stored spans', () => {
  const blocksOf = (pages: readonly number[], takesBlock = true): number => {
    const stored = new StoredBlocks({ tailTakesBlock: () => takesBlock }, SHAPE);
    for (const each of pages) stored.add(each);
    return stored.blocks;
  };

  it.each([
    ['whole blocks', [16, 8], 3, 3],
    ['one tail, where there may be room', [19], 3, 2],
    ['two tails of one block', [3, 3], 1, 1],
    ['a third one', [3, 3, 11], 3, 3],
    ['tails that are more than half a block', [5, 5], 2, 2],
    ['tails of two lengths, each among its own', [1, 2], 2, 2],
  ])('are those of %s', (_, pages, beginning, besideOthers) => {
    expect([blocksOf(pages), blocksOf(pages, false)]).toEqual([beginning, besideOthers]);
  });

  it('ask for room once, since it may be promised once only, and not for whole blocks', () => {
    const tailTakesBlock = vi.fn((pages: number) => pages > 2);
    const stored = new StoredBlocks({ tailTakesBlock }, SHAPE);
    stored.add(8);
    expect([stored.blocks, tailTakesBlock.mock.calls.length]).toEqual([1, 0]);
    stored.add(10);
    expect([stored.blocks, stored.blocks, tailTakesBlock.mock.calls]).toEqual([2, 2, [[2]]]);
  });
});

describe('the span of a token', () => {
  const parts = [
    { start: 0, length: 40, picture: undefined },
    { start: 40, length: 20, picture: 0 },
    { start: 60, length: 5, picture: undefined },
  ];
  const capsule = { format: 2, pages: 3 };
  const pictures = [{ offset: 40, length: 20, restRows: [0, 19], stored: capsule }];
  const text = { stored: { format: 1, pages: 9 }, tokens: 32, form: { codec: 'q8', profileId: '' } };
  const of = (token: number, total: number, isRaw = false) => {
    const { start, end, picture, stored, restRows } = spanAt(
      { parts, pictures, text: isRaw ? undefined : text },
      token,
      total,
    );
    return [start, end, picture, stored?.format, restRows.length];
  };

  it('is a run of text once that is full, and what is left of a part before', () => {
    expect([of(0, 65), of(31, 65)]).toEqual(Array(2).fill([0, 32, undefined, 1, 0]));
    expect([of(32, 65), of(39, 65)]).toEqual(Array(2).fill([32, 40, undefined, undefined, 0]));
    expect(of(0, 65, true)).toEqual([0, 40, undefined, undefined, 0]);
  });

  it('is the whole of a picture, with the rows that stay raw', () => {
    expect([of(40, 65), of(59, 65)]).toEqual(Array(2).fill([40, 60, 0, 2, 2]));
  });

  it('grows in the last part with what is generated', () => {
    expect([of(64, 91), of(60, 92), of(92, 93)]).toEqual([
      [60, 91, undefined, undefined, 0],
      [60, 92, undefined, 1, 0],
      [92, 93, undefined, undefined, 0],
    ]);
  });

  it('is none where nothing is to be computed', () => {
    expect(() => spanAt({ parts: [], pictures: [], text: undefined }, 0, 0)).toThrow('without tokens');
  });
});
