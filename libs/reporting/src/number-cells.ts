const NUMBER = /^[+\-−]?(\d[\d,]*(\.\d+)?|\.\d+)(e[+-]?\d+)?/i;

/** The number that a cell begins with; undefined where it begins with none. */
export function numberOf(cell: string): number | undefined {
  const found = NUMBER.exec(cell.trim())?.[0];
  return found === undefined ? undefined : Number(found.replaceAll(',', '').replace('−', '-'));
}

const EMPTY = new Set(['', '–', '-']);

/** Whether a column is one of numbers: every cell that is not empty begins with one. */
export function isNumeric(cells: readonly string[]): boolean {
  const filled = cells.filter((cell) => !EMPTY.has(cell.trim()));
  return filled.length > 0 && filled.every((cell) => numberOf(cell) !== undefined);
}
