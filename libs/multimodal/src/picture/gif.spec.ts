import { describe, expect, it } from 'vitest';
import { decodeImage } from './decode-image.js';

/** [name, file in base64, pixels as Pillow 13.0.0 gives them, laid on white where they are transparent] */
type Row = readonly [string, string, readonly (readonly number[])[]];

const GIFS: readonly Row[] = [
  [
    'an opaque frame, on the first colour of the file’s table',
    'R0lGODlhBAADAIEBAAoUHsgAAADIAAAAyCwBAAEAAgABAAACAtRYADs=',
    [
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
      [0, 200, 0],
      [0, 0, 200],
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
    ],
  ],
  [
    'an opaque frame, on the first colour of its own table',
    'R0lGODlhBAADAIEBAAoUHsgAAADIAAAAyCwBAAEAAgABAIFaUEYBAgMEBQYHCAkCAtRYADs=',
    [
      [90, 80, 70],
      [90, 80, 70],
      [90, 80, 70],
      [90, 80, 70],
      [90, 80, 70],
      [4, 5, 6],
      [7, 8, 9],
      [90, 80, 70],
      [90, 80, 70],
      [90, 80, 70],
      [90, 80, 70],
      [90, 80, 70],
    ],
  ],
  [
    'a transparent frame, on white',
    'R0lGODlhBAADAIEBAAoUHsgAAADIAAAAyCH5BAEAAAMALAEAAQACAAEAAAIC1FgAOw==',
    [
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [0, 200, 0],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
    ],
  ],
  [
    'a frame with a transparent colour that it does not use, on white',
    'R0lGODlhBAADAIEBAAoUHsgAAADIAAAAyCH5BAEAAAEALAEAAQACAAEAAAIC1FgAOw==',
    [
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [0, 200, 0],
      [0, 0, 200],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
      [255, 255, 255],
    ],
  ],
  [
    'a frame that fills the canvas',
    'R0lGODlhAgABAIEBAAoUHsgAAADIAAAAyCwAAAAAAgABAAACAtRYADs=',
    [
      [0, 200, 0],
      [0, 0, 200],
    ],
  ],
  [
    'a frame that reaches beyond the canvas',
    'R0lGODlhAgACAIEBAAoUHsgAAADIAAAAyCwBAAEAAgACAAACA9QYsQA7',
    [
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
      [10, 20, 30],
      [0, 200, 0],
      [0, 0, 200],
      [10, 20, 30],
      [200, 0, 0],
      [0, 200, 0],
    ],
  ],
];

const WEBPS: readonly Row[] = [
  [
    'whose header knows no alpha, on black',
    'UklGRoIAAABXRUJQVlA4WAoAAAACAAAAAwAAAQAAQU5JTQYAAAAHCAn/AABBTk1GKAAAAAEAAAAAAAEAAAEAAGQAAABWUDhMDwAAAC8BQAAABxBFjv4HIqL/AQBBTk1GJgAAAAAAAAAAAAMAAAEAAGQAAABWUDhMDgAAAC8DQAAAB5CZ/Q9ERP8D',
    [
      [0, 0, 0],
      [0, 0, 0],
      [200, 0, 0],
      [200, 0, 0],
      [0, 0, 0],
      [0, 0, 0],
      [200, 0, 0],
      [200, 0, 0],
    ],
  ],
  [
    'whose header knows alpha, on white',
    'UklGRoIAAABXRUJQVlA4WAoAAAASAAAAAwAAAQAAQU5JTQYAAAAHCAn/AABBTk1GKAAAAAEAAAAAAAEAAAEAAGQAAABWUDhMDwAAAC8BQAAABxBFjv4HIqL/AQBBTk1GJgAAAAAAAAAAAAMAAAEAAGQAAABWUDhMDgAAAC8DQAAAB5CZ/Q9ERP8D',
    [
      [255, 255, 255],
      [255, 255, 255],
      [200, 0, 0],
      [200, 0, 0],
      [255, 255, 255],
      [255, 255, 255],
      [200, 0, 0],
      [200, 0, 0],
    ],
  ],
  [
    'with an alpha that its header does not know, on black',
    'UklGRoIAAABXRUJQVlA4WAoAAAACAAAAAwAAAQAAQU5JTQYAAAAHCAn/AABBTk1GKAAAAAEAAAAAAAEAAAEAAGQAAABWUDhMDwAAAC8BQAAQBxBFjgIGIqL/AQBBTk1GJgAAAAAAAAAAAAMAAAEAAGQAAABWUDhMDgAAAC8DQAAAB5CZ/Q9ERP8D',
    [
      [0, 0, 0],
      [0, 0, 0],
      [200, 0, 0],
      [200, 0, 0],
      [0, 0, 0],
      [0, 0, 0],
      [200, 0, 0],
      [200, 0, 0],
    ],
  ],
];

const pixelsOf = async (base64: string) => {
  const { rgb } = await decodeImage(Buffer.from(base64, 'base64'), { param: 'p', maxPixels: 1_000 });
  return Array.from({ length: rgb.length / 3 }, (_, pixel) => [...rgb.subarray(3 * pixel, 3 * pixel + 3)]);
};

describe('a first frame of another size than its canvas', () => {
  it.each(GIFS)('of a GIF: %s', async (_name, base64, pixels) => {
    expect(await pixelsOf(base64)).toEqual(pixels);
  });

  it.each(WEBPS)('of an animated WebP %s', async (_name, base64, pixels) => {
    expect(await pixelsOf(base64)).toEqual(pixels);
  });
});
