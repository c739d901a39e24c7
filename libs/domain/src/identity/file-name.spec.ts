import { describe, expect, it } from 'vitest';

import { cacheDomain } from './cache-domain.js';
import { nameFile } from './file-name.js';

const sha256 = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);

describe('nameFile', () => {
  it('keeps files, tenants and salts apart', () => {
    const [plain, salted, other] = [cacheDomain('t', ''), cacheDomain('t', 's'), cacheDomain('ts', '')];
    const names = [plain, salted, other].map((domain) => nameFile(sha256(1), domain));
    expect(new Set([...names, nameFile(sha256(2), salted)]).size).toBe(4);
    expect(nameFile(sha256(1), salted)).toBe(names[1]);
  });
});
