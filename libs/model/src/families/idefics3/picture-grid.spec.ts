import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ModelFolder, openModelFolder } from '../../folder/model-folder.js';
import { pictureMarkup } from './markup.js';
import { pictureGrid, pictureGrids } from './picture-grid.js';

const MODEL_DIR = new URL('../../../../../deploy/models/emoji-vlm/', import.meta.url).pathname;

type Row = [width: number, height: number, rows: number | null, cols: number | null, tokens: number | null];

/** Written by tools/oracle/picture_counts.py. */
interface Fixture {
  readonly counts: readonly Row[];
  readonly grids: readonly {
    readonly longestEdgePx: number;
    readonly tilePx: number;
    readonly rows: readonly [width: number, height: number, rows: number | null, cols: number | null][];
  }[];
}

describe('the grid of a picture', () => {
  let model: ModelFolder;
  let table: readonly Row[];
  let others: Fixture['grids'];

  beforeAll(async () => {
    model = await openModelFolder(MODEL_DIR);
    const fixture = new URL('./picture-counts.fixture.json', import.meta.url);
    ({ counts: table, grids: others } = JSON.parse(await readFile(fixture, 'utf8')) as Fixture);
  });
  afterAll(() => model.dispose());

  const named: [number, number][] = [
    [257, 256],
    [256, 257],
    [255, 254],
    [1000, 333],
    [333, 1000],
    [129, 128],
    [1093, 5],
    [5, 1093],
    [3, 200],
  ];

  it.each(named)('%i x %i stands in the table of transformers', (width, height) => {
    expect(table.some((row) => row[0] === width && row[1] === height)).toBe(true);
  });

  it('is the one of transformers for every size of the table', () => {
    expect(table.length).toBeGreaterThanOrEqual(300);
    const ours = table.map(([width, height]): Row => {
      try {
        const { rows, cols, tokenIds } = model.pictureSpan(width, height);
        return [width, height, rows, cols, tokenIds.length];
      } catch {
        return [width, height, null, null, null];
      }
    });
    expect(ours).toEqual(table);
  });

  it('is the one of transformers with other settings, odd ones too', () => {
    expect(others.length).toBeGreaterThanOrEqual(5);
    for (const { longestEdgePx, tilePx, rows } of others) {
      const ours = rows.map(([width, height]) => {
        try {
          const grid = pictureGrid(width, height, { longestEdgePx, tilePx, splits: true });
          return [width, height, grid.rows, grid.cols];
        } catch {
          return [width, height, null, null];
        }
      });
      expect(ours, `${longestEdgePx} in tiles of ${tilePx}`).toEqual(rows);
    }
  });

  it.each([
    [0, 10],
    [10, 0],
    [-1, 5],
    [1.5, 2],
    [Number.NaN, 2],
  ])('refuses %d x %d', (width, height) => {
    expect(() => model.pictureSpan(width, height)).toThrow(
      expect.objectContaining({ code: 'IMAGE_INVALID' }),
    );
  });

  it('is empty where a model does not split, and the span is the global view alone', () => {
    const grid = pictureGrid(900, 700, { longestEdgePx: 256, tilePx: 64, splits: false });
    expect(grid).toEqual({ rows: 0, cols: 0 });
    expect(pictureMarkup(grid, 2)).toBe(
      '<fake_token_around_image><global-img><image><image><fake_token_around_image>',
    );
  });

  it('is one of those that pictures of any shape have', () => {
    const names = pictureGrids({ longestEdgePx: 256, tilePx: 64, splits: true }).map(
      ({ rows, cols }) => `${rows}x${cols}`,
    );
    expect(names).toEqual(['1x4', '2x4', '3x4', '4x1', '4x2', '4x3', '4x4']);
    expect(new Set(model.pictureSpans().map(({ rows, cols }) => `${rows}x${cols}`))).toEqual(new Set(names));
    for (const [width, height, rows, cols, tokens] of table) {
      const known = model.pictureSpans().find((span) => span.rows === rows && span.cols === cols);
      if (rows !== null) expect(known?.tokenIds.length, `${width} x ${height}`).toBe(tokens);
    }
    expect(pictureGrids({ longestEdgePx: 256, tilePx: 64, splits: false })).toEqual([{ rows: 0, cols: 0 }]);
  });

  it('is empty for a picture that fits one tile', () => {
    expect(pictureGrid(64, 64, { longestEdgePx: 64, tilePx: 64, splits: true })).toEqual({
      rows: 0,
      cols: 0,
    });
  });
});
