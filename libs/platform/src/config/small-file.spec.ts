import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readSmallFile } from './small-file.js';

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kvc-files-'));
  writeFileSync(at('file'), 'text');
  symlinkSync(at('file'), at('link'));
  execFileSync('mkfifo', [at('pipe')]);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe('a file that a setting names', () => {
  it.each(['file', 'link'])('is read (%s)', (name) => {
    expect(readSmallFile(at(name), 4)).toBe('text');
  });

  it.each([
    ['a pipe, to which nobody writes', () => at('pipe'), 'is no regular file'],
    ['a folder', () => folder, 'is no regular file'],
    ['a device without an end', () => '/dev/zero', 'is no regular file'],
    ['too large', () => at('file'), 'larger than 3 bytes'],
    ['not there', () => at('none'), 'cannot be read (ENOENT)'],
  ])('is refused where it is %s', (_what, path, message) => {
    expect(() => readSmallFile(path(), 3)).toThrow(message);
  });
});
