/**
 * Rows as lengths that alternate: rows left out, rows taken, and so on. A picture's markers stand in few groups, so
 * it is short: 36 numbers for the 40 markers of a picture of 17 tiles.
 *
 * @param rows ascending, each once
 */
export function encodeRows(rows: ArrayLike<number>): number[] {
  const lengths: number[] = [];
  let next = 0;
  for (let at = 0; at < rows.length; at += 1) {
    const row = rows[at] ?? 0;
    if (row === next && lengths.length > 0) lengths[lengths.length - 1] = (lengths.at(-1) ?? 0) + 1;
    else lengths.push(row - next, 1);
    next = row + 1;
  }
  return lengths;
}

/** What `encodeRows` was given; undefined when that has a row of `end` or more. */
export function decodeRows(lengths: readonly number[], end: number): number[] | undefined {
  if (lengths.reduce((sum, length) => sum + length, 0) > end) return undefined;
  const rows: number[] = [];
  let next = 0;
  for (const [at, length] of lengths.entries()) {
    if (at % 2 === 1) rows.push(...Array.from({ length }, (_, index) => next + index));
    next += length;
  }
  return rows;
}
