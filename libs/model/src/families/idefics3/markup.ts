import type { PictureGrid } from '../family.js';

export const IMAGE_TOKEN = '<image>';
export const FAKE_IMAGE_TOKEN = '<fake_token_around_image>';

/** What stands in the prompt for one picture: tiles row by row, each behind its marker, then the global view. */
export function pictureMarkup({ rows, cols }: PictureGrid, tokensPerTile: number): string {
  const tile = IMAGE_TOKEN.repeat(tokensPerTile);
  const global = `${FAKE_IMAGE_TOKEN}<global-img>${tile}${FAKE_IMAGE_TOKEN}`;
  if (rows === 0 && cols === 0) return global;
  let markup = '';
  for (let row = 1; row <= rows; row += 1) {
    for (let col = 1; col <= cols; col += 1) markup += `${FAKE_IMAGE_TOKEN}<row_${row}_col_${col}>${tile}`;
    markup += '\n';
  }
  return `${markup}\n${global}`;
}
