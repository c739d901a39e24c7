import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERRORS } from './index.js';

const PAGE = join(import.meta.dirname, '../../../../docs/reference/errors.md');

describe('docs/reference/errors.md', () => {
  it('lists the catalogue, entry for entry', () => {
    const rows = readFileSync(PAGE, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    const listed = rows.map((row) =>
      row
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
    const expected = Object.entries(ERRORS).map(([code, { status, type, help }]) => [
      `\`${code.toLowerCase()}\``,
      String(status),
      `\`${type}\``,
      help,
    ]);
    expect(listed).toEqual(expected);
  });
});
