import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTenants } from './tenants-file.js';

const [HASH, OTHER] = ['a'.repeat(64), 'b'.repeat(64)];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kvcapsule-tenants-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function read(content: unknown): ReturnType<typeof readTenants> {
  const file = join(folder, 'tenants.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return readTenants(file);
}

const tenant = (more: object = {}) => ({ name: 'search', keySha256: [HASH], ...more });

describe('a file of tenants', () => {
  it('gives each its keys, weight, priorities and caps', () => {
    const limits = { requests: 8, tokensPerMinute: 60_000, pages: 512 };
    const full = tenant({ weight: 4, priority: { min: 0, max: 5 }, limits });
    expect(read({ tenants: [full] })).toEqual([
      {
        ...{ name: 'search', weight: 4, priority: { min: 0, max: 5 }, caps: limits },
        keyHashes: [Buffer.from(HASH, 'hex')],
      },
    ]);
  });

  it('may begin with the byte order mark that some editors write', () => {
    expect(read(`\uFEFF${JSON.stringify({ tenants: [tenant()] })}`)).toHaveLength(1);
  });

  it('leaves everything open that it does not say, also of the default tenant, whose keys are given elsewhere', () => {
    const [open, ofDefault] = read({ tenants: [tenant(), { name: 'default', weight: 2 }] });
    expect(open).toMatchObject({
      weight: 1,
      priority: { min: -Infinity, max: Infinity },
      caps: { requests: Infinity, tokensPerMinute: Infinity, pages: Infinity },
    });
    expect(ofDefault).toMatchObject({ name: 'default', weight: 2, keyHashes: [] });
  });

  it('is as the guide shows it', () => {
    const guide = readFileSync(join(import.meta.dirname, '../../../docs/guides/tenants.md'), 'utf8');
    const example = /```json\n([^]*?)```/.exec(guide)?.[1] ?? '';
    expect(read(example).map(({ name }) => name)).toEqual(['search', 'batch', 'default']);
  });

  it.each([
    ['{"tenants": [', /is not valid JSON at line 1, column 14$/],
    ['{"tenants":\n [sekret1]}', /is not valid JSON at line 2, column 3$/],
    ['['.repeat(100_000), /is not valid JSON$/],
    ['{"tenants": [\n{"name": "search", "weight": 1, "w\\u0065ight": 9}]}', /: line 2: a key is given twice/],
    [[], /the file: /],
    [{ tenants: [] }, /tenants: /],
    [{ tenants: [tenant()], more: 1 }, /the file: .*more/],
    [{ tenants: [tenant({ nmae: 'x' })] }, /tenants\.0: .*nmae/],
    [{ tenants: [tenant({ name: 'sekret1 ' })] }, /tenants\.0\.name: up to 64 letters/],
    [{ tenants: [tenant({ name: 'other' })] }, /tenants\.0\.name: other stands for/],
    [{ tenants: [tenant({ weight: 0 })] }, /tenants\.0\.weight: /],
    [{ tenants: [tenant({ priority: { min: 2, max: 1 } })] }, /tenants\.0\.priority: min is above max/],
    [{ tenants: [tenant({ limits: { requests: 0 } })] }, /tenants\.0\.limits\.requests: /],
    [{ tenants: [tenant({ limits: { tokens: 5 } })] }, /tenants\.0\.limits: .*tokens/],
    [{ tenants: [tenant({ keySha256: ['sekret1'] })] }, /tenants\.0\.keySha256\.0: not a SHA-256/],
    [{ tenants: [tenant({ keySha256: [] })] }, /tenants\.0\.keySha256: no key is given/],
    [{ tenants: [{ name: 'default' }] }, /tenants: no tenant has a key/],
    [{ tenants: [tenant(), tenant({ keySha256: [OTHER] })] }, /tenants\.1\.name: another tenant/],
    [{ tenants: [tenant(), tenant({ name: 'b' })] }, /tenants\.1\.keySha256\.0: this key is there twice/],
    [' '.repeat(4 * 1024 * 1024 + 1), /larger than 4194304 bytes$/],
  ])('is refused, by its place and without what stands there (%#)', (content, message) => {
    try {
      read(content);
      expect.unreachable();
    } catch (error) {
      const text = expect.stringMatching(message) as string;
      expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: text });
      expect(String(error)).toContain('--tenants: ');
      expect(String(error)).not.toContain('sekret1');
    }
  });

  it('that is not there is named', () => {
    expect(() => readTenants('/nowhere/tenants.json')).toThrow(
      '--tenants: /nowhere/tenants.json: cannot be read (ENOENT)',
    );
  });
});
