import { describe, expect, it } from 'vitest';
import { bytesText, durationText, textTable } from './text-table.js';

describe('a table in the terminal', () => {
  it('is as wide as its cells, with numbers to the right and no blanks at the end', () => {
    const rows = [
      { name: 'a', size: 5 },
      { name: 'longer', size: 12_345 },
    ];
    const columns = [
      { title: 'SIZE', cell: ({ size }: { size: number }) => String(size), isNumber: true },
      { title: 'NAME', cell: ({ name }: { name: string }) => name },
    ];
    expect(textTable(columns, rows)).toBe(' SIZE  NAME\n    5  a\n12345  longer\n');
  });

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [150 * 1024, '150 KiB'],
    [2.5 * 2 ** 30, '2.5 GiB'],
    [2 ** 60, '1048576 TiB'],
  ])('%i bytes are %s', (bytes, text) => {
    expect(bytesText(bytes)).toBe(text);
  });

  it.each([
    [3, '3 s'],
    [150, '3 min'],
    [5_400, '1.5 h'],
    [259_200, '3.0 d'],
  ])('%i seconds are %s', (seconds, text) => {
    expect(durationText(seconds)).toBe(text);
  });
});
