import { describe, expect, it } from 'vitest';
import { cellsOf, inUse, KINDS, runsOfSums, type Runs } from './page-cells.js';

const named = (runs: Runs, most: number) => [...cellsOf(runs, most)].map((kind) => KINDS[kind]);

describe('a pool as cells', () => {
  it('has a cell for each page where there is room', () => {
    expect(
      named(
        [
          ['raw', 2],
          ['free', 1],
          ['capsule', 1],
        ],
        10,
      ),
    ).toEqual(['raw', 'raw', 'free', 'capsule']);
  });

  it('has the kind that most of a cell’s pages are, and of free ones none that is used', () => {
    expect(
      named(
        [
          ['raw', 3],
          ['capsule', 1],
          ['free', 4],
        ],
        2,
      ),
    ).toEqual(['raw', 'free']);
    expect(
      named(
        [
          ['cached', 1],
          ['free', 99],
        ],
        1,
      ),
    ).toEqual(['cached']);
  });

  it('counts pages that lie across two cells with both', () => {
    expect(
      named(
        [
          ['free', 2],
          ['raw', 1],
        ],
        2,
      ),
    ).toEqual(['free', 'raw']);
    expect(
      cellsOf(
        [
          ['free', 7],
          ['raw', 3],
        ],
        3,
      ),
    ).toHaveLength(3);
  });

  it('is nothing without pages, and takes sums as runs', () => {
    expect(named([], 5)).toEqual([]);
    expect(named(runsOfSums({ free: 1, raw: 1, capsule: 1, cached: 1 }), 4)).toEqual([
      ...['capsule', 'raw', 'cached', 'free'],
    ]);
  });
});

describe('what of a pool is shown', () => {
  it.each<[string, Runs, number, Runs]>([
    [
      'all of a small one',
      [
        ['raw', 2],
        ['free', 6],
      ],
      10,
      [
        ['raw', 2],
        ['free', 6],
      ],
    ],
    ['as many pages as cells of an empty one', [['free', 1_000]], 10, [['free', 10]]],
    [
      'what is in use and a quarter more',
      [
        ['raw', 80],
        ['free', 920],
      ],
      10,
      [
        ['raw', 80],
        ['free', 20],
      ],
    ],
    [
      'all of a full one',
      [
        ['free', 1],
        ['raw', 99],
      ],
      10,
      [
        ['free', 1],
        ['raw', 99],
      ],
    ],
    ['nothing of none', [], 10, []],
  ])('is %s', (_, runs, cells, shown) => {
    expect(inUse(runs, cells)).toEqual(shown);
  });
});
