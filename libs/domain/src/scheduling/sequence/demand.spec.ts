import { describe, expect, it } from 'vitest';

import { picture } from '../../testing/request-scripts.js';
import { blocksForRows, blocksToRestore, blocksToRestoreApart, storedBlocks } from './demand.js';
import type { HeldSegment } from './held.js';
import { Progress } from './progress.js';

const SHAPE = { blockTokens: 16, pagesPerBlock: 8 };
const BEGINS = { tailTakesBlock: () => true };
const BESIDE = { tailTakesBlock: () => false };

describe('blocks that rows take', () => {
  // ten tokens of text, a picture of two blocks that becomes three pages, fifty tokens of text
  const pictures = [picture(10, 20, 0, 3)];
  const progress = new Progress({ id: 'a', promptTokens: 80, pictures }, SHAPE);
  const from = (at: number) => ({ from: at, pending: undefined, shared: 0 });

  it.each([
    ['the rows that are asked for', 10, from(0), 1],
    ['those up to a compression, as what follows waits for it', 60, from(0), 3],
    ['no more than are missing', 99, from(70), 0 + 1],
    ['all, with the picture’s rows, what they become and the text behind them', Infinity, from(0), 1 + 1 + 4],
  ])('are for %s', (_, rows, place, blocks) => {
    expect(blocksForRows(progress, BEGINS, rows, place)).toBe(blocks);
  });

  it('begin with the compression of what is complete, which gives back what nobody else uses', () => {
    const pending = progress.spanAt(10);
    const of = (rows: number, shared: number, source = BEGINS) =>
      blocksForRows(progress, source, rows, { from: 30, pending, shared });
    expect([of(1, 0), of(50, 0), of(50, 1), of(50, 2)]).toEqual([1, 3, 4, 5]);
    // where its tail finds room only the text behind it takes blocks, and two are given back
    expect([of(1, 0, BESIDE), of(50, 0, BESIDE)]).toEqual([0, 2]);
  });
});

describe('blocks that pages take', () => {
  const held: HeldSegment[] = [
    { kind: 'raw', start: 0, picture: undefined, blocks: [1, 2], tokens: 20, cached: 0 },
    { kind: 'stored', start: 20, picture: 0, pages: Array<number>(11).fill(0), tokens: 20, format: 1 },
  ];

  it('when they come back: whole ones, and for a tail where there is no room', () => {
    expect([blocksToRestore(held, BEGINS, SHAPE), blocksToRestore(held, BESIDE, SHAPE)]).toEqual([4, 3]);
    expect(blocksToRestoreApart([...held, ...held], SHAPE)).toBe(8);
  });

  it('when a span is stored: with the rows beside it', () => {
    const stored = { format: 1, pages: 11 };
    expect([storedBlocks(BEGINS, stored, 17, SHAPE), storedBlocks(BESIDE, stored, 0, SHAPE)]).toEqual([4, 1]);
  });
});
