import { describe, expect, it } from 'vitest';
import { Grids } from './grids.js';
import { cutPieces, madeOf } from './pieces.js';

const IMAGE = 5;
const [FAKE, NEWLINE, VIEW] = [1, 2, 3];
const tile = (opener: number) => [FAKE, opener, IMAGE, IMAGE];
/** Rows of two tiles with openers 11, 12, 21, 22 and so on, then the view. */
const picture = (rows: number) => [
  ...Array.from({ length: rows }, (_, row) => [
    ...tile(10 * (row + 1) + 1),
    ...tile(10 * (row + 1) + 2),
    NEWLINE,
  ]).flat(),
  ...[NEWLINE, FAKE, VIEW, IMAGE, IMAGE, FAKE],
];

describe('cutPieces', () => {
  it('tells tiles, the view in small and markers apart, and where they stand', () => {
    const { kindRows, kindMarkers, sites, layouts } = cutPieces([picture(1), picture(2)], IMAGE);
    // markers before a tile, tile, markers before the view, view, the end; and markers before a row's first tile
    expect([...kindRows]).toEqual([2, 2, 4, 2, 1, 3]);
    expect([...kindMarkers]).toEqual([1, 0, 1, 0, 1, 1]);
    expect(layouts[0]).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect([...sites]).toEqual([0, 1, 0, 1, 2, 3, 4, 5, 1, 0, 1]);
    // The second picture begins with the sites of the first and ends with them.
    expect(layouts[1]).toEqual([0, 1, 2, 3, 7, 8, 9, 10, 4, 5, 6]);
    for (const [at, rows] of [1, 2].entries()) {
      const length = (layouts[at] ?? []).reduce((sum, site) => sum + (kindRows[sites[site] ?? 0] ?? 0), 0);
      expect(length).toBe(picture(rows).length);
    }
  });

  it('knows which spans can be put together from what was seen', () => {
    expect(madeOf(picture(3), [picture(2)], IMAGE)).toBe(true);
    expect(madeOf(picture(2), [picture(1)], IMAGE)).toBe(false);
    expect(madeOf([FAKE, VIEW, IMAGE, IMAGE, FAKE], [picture(2)], IMAGE)).toBe(false);
  });
});

describe('Grids', () => {
  const span = (rows: number, tokenIds = picture(rows)) => {
    const markerRows = [...tokenIds.keys()].filter((row) => tokenIds[row] !== IMAGE);
    return { rows, cols: 2, tokenIds, imageTokens: tokenIds.length - markerRows.length, markerRows };
  };

  it('fits those with enough pictures, and the most frequent in any case', () => {
    const grids = new Grids([span(1), span(2), span(3)]);
    expect(grids.fitted).toEqual([]);
    grids.resume(Int32Array.from([picture(2).length, 64, picture(1).length, 63]));
    expect(grids.pictures).toBe(127);
    expect(grids.fitted.map(({ name }) => name)).toEqual(['2x2']);
    const found = grids.find(picture(1));
    expect(found?.name).toBe('1x2');
    if (found) found.pictures += 1;
    expect(grids.fitted.map(({ name }) => name)).toEqual(['2x2', '1x2']);
    expect(grids.seen).toHaveLength(2);
  });

  it('does not take pictures for those of a grid with as many tokens', () => {
    const other = picture(1).map((token) => (token === NEWLINE ? IMAGE : token));
    const grids = new Grids([span(1), { ...span(9, other), cols: 9 }]);
    expect(grids.all).toHaveLength(1);
    expect(grids.find(other)).toBeUndefined();
    expect(grids.find(picture(4))).toBeUndefined();
  });
});
