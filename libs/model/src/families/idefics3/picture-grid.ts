import { KvcError } from '@kvcapsule/contracts';
import type { PictureGrid, PictureSpecification } from '../family.js';

/** What the grid of a picture depends on, beside its size. */
export type PictureGridSettings = Pick<PictureSpecification, 'longestEdgePx' | 'tilePx' | 'splits'>;

/** The hard limit of transformers' Idefics3ImageProcessor on either side of a resized picture, in pixels. */
const MAX_SIDE_PX = 4096;

interface Size {
  readonly width: number;
  readonly height: number;
}

const upToEven = (side: number) => side + (side % 2);
const upToTiles = (side: number, tilePx: number) => Math.ceil(side / tilePx) * tilePx;

function scaleToLongestEdge({ width, height }: Size, longest: number): Size {
  const ratio = width / height;
  return width >= height
    ? { width: longest, height: Math.max(upToEven(Math.trunc(longest / ratio)), 1) }
    : { width: Math.max(upToEven(Math.trunc(longest * ratio)), 1), height: longest };
}

function boundSides(size: Size, limit: number): Size {
  const { width, height } = size;
  const ratio = width / height;
  if (width >= height && width > limit)
    return { width: limit, height: Math.max(Math.trunc(limit / ratio), 1) };
  if (height > width && height > limit)
    return { width: Math.max(Math.trunc(limit * ratio), 1), height: limit };
  return size;
}

function growToTiles({ width, height }: Size, tilePx: number): Size {
  const ratio = width / height;
  if (width >= height) {
    const grown = upToTiles(width, tilePx);
    return { width: grown, height: upToTiles(Math.trunc(grown / ratio), tilePx) };
  }
  const grown = upToTiles(height, tilePx);
  return { width: upToTiles(Math.trunc(grown * ratio), tilePx), height: grown };
}

/**
 * The grid that transformers' Idefics3ImageProcessor cuts an upright picture of this size into, rounding
 * where it rounds: the same doubles in the same order, so that the counts agree to the token.
 *
 * @throws KvcError IMAGE_INVALID for a size that cannot be tiled
 */
export function pictureGrid(widthPx: number, heightPx: number, settings: PictureGridSettings): PictureGrid {
  const sides = [widthPx, heightPx];
  if (!sides.every((side) => Number.isSafeInteger(side) && side > 0))
    throw new KvcError('IMAGE_INVALID', 'the picture has no pixels');
  if (!settings.splits) return { rows: 0, cols: 0 };
  const { longestEdgePx, tilePx } = settings;
  const scaled = boundSides(
    scaleToLongestEdge({ width: widthPx, height: heightPx }, longestEdgePx),
    MAX_SIDE_PX,
  );
  const { width, height } = growToTiles(scaled, tilePx);
  if (width === 0 || height === 0)
    throw new KvcError(
      'IMAGE_INVALID',
      `the picture is too narrow to be shown: ${widthPx} x ${heightPx} pixels`,
    );
  if (width <= tilePx && height <= tilePx) return { rows: 0, cols: 0 };
  return { rows: height / tilePx, cols: width / tilePx };
}

/** Every grid that pictures of some shape are cut into, by rows, then columns. */
export function pictureGrids(settings: PictureGridSettings): readonly PictureGrid[] {
  const grids = new Map<number, PictureGrid>();
  const add = (widthPx: number, heightPx: number) => {
    try {
      const grid = pictureGrid(widthPx, heightPx, settings);
      grids.set(grid.rows * MAX_SIDE_PX + grid.cols, grid);
    } catch (error) {
      // too narrow to be shown: no picture of this shape has a grid
      if (!(error instanceof KvcError)) throw error;
    }
  };
  const { longestEdgePx } = settings;
  for (let side = 1; side <= longestEdgePx; side += 1) {
    add(longestEdgePx, side);
    add(side, longestEdgePx);
  }
  return [...grids].sort(([a], [b]) => a - b).map(([, grid]) => grid);
}
