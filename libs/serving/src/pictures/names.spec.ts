import { describe, expect, it } from 'vitest';

import { nameFile } from './names.js';

const sha256 = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);

describe('nameFile', () => {
  it('keeps files and salts apart', () => {
    const names = [nameFile(sha256(1), ''), nameFile(sha256(1), 's'), nameFile(sha256(2), 's')];
    expect(new Set(names).size).toBe(3);
    expect(nameFile(sha256(1), 's')).toBe(names[1]);
  });
});
