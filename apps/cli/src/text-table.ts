/** A column of a table in the terminal. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  /** To the right, as numbers are. */
  readonly isNumber?: boolean;
}

/** Rows under titles, two blanks between columns, each as wide as its widest cell. Ends in a line break. */
export function textTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ cell }) => cell(row))),
  ];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)));
  const lines = cells.map((line) =>
    line
      .map((text, index) => {
        const width = widths[index] ?? 0;
        return columns[index]?.isNumber === true ? text.padStart(width) : text.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Three figures and a unit. */
export function bytesText(bytes: number): string {
  const step = Math.min(Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)), UNITS.length - 1);
  const value = bytes / 1024 ** step;
  return `${value.toFixed(step === 0 || value >= 100 ? 0 : 1)} ${UNITS[step] ?? ''}`;
}

/** As `3 min`; seconds below a minute. */
export function durationText(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  if (seconds < 3_600) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 172_800 ? `${(seconds / 3_600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`;
}
