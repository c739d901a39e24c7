import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { entriesAgainst, entryKey, readEntries } from './entries.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-entries-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function read(entries: unknown): ReturnType<typeof readEntries> {
  const path = join(folder, 'entries.json');
  await writeFile(path, JSON.stringify({ entries }));
  return readEntries(path);
}

describe('readEntries', () => {
  it('leaves raw out and finds profiles beside the file', async () => {
    const entries = await read([
      { name: 'thin', profile: 'thin.safetensors' },
      { name: 'q8', codec: 'q8', group: 'rival' },
      { name: 'raw', codec: 'raw' },
      { name: 'blurred', codec: 'raw', detail: 64, hard: true },
      { name: 'eight bits', codec: 'raw', weights: 'q8_0' },
    ]);
    expect(entries.map(({ name }) => name)).toEqual(['thin', 'q8', 'blurred', 'eight bits']);
    expect(entries[0]).toMatchObject({ profile: join(folder, 'thin.safetensors'), group: 'ours' });
  });

  it.each([
    ['a capsule without a profile', [{ name: 'a', codec: 'capsule' }], /profile/],
    ['rows with a profile', [{ name: 'a', codec: 'q8', profile: 'x' }], /profile/],
    ['a codec nobody knows', [{ name: 'a', codec: 'q3' }], /codec/],
    ['q8 rows of other weights', [{ name: 'a', codec: 'q8', weights: 'q8_0' }], /weights/],
    ['weights nobody knows', [{ name: 'a', codec: 'raw', weights: 'q3' }], /weights/],
    [
      'other weights for scaled pictures',
      [{ name: 'a', codec: 'raw', weights: 'q8_0', detail: 64 }],
      /weights/,
    ],
    ['scaled q8 rows', [{ name: 'a', codec: 'q8', longestEdge: 64 }], /longestEdge/],
    [
      'two of one name',
      [
        { name: 'a', codec: 'q8' },
        { name: 'a', codec: 'q4' },
      ],
      /one name/,
    ],
    ['a name that breaks tables', [{ name: 'a|b', codec: 'q8' }], /letters/],
    ['a field nobody reads', [{ name: 'a', codec: 'q8', bits: 3 }], /bits/],
    [
      'two sets of hard questions',
      [64, 32].map((detail) => ({ name: `d${detail}`, codec: 'raw', detail, hard: true })),
      /hard/,
    ],
    ['a server with a codec of ours', [{ name: 'a', url: 'http://a', codec: 'q8' }], /url/],
    ['a model without a server', [{ name: 'a', codec: 'q8', model: 'm' }], /url/],
    ['no web address', [{ name: 'a', url: 'file:///etc/hosts' }], /url/],
    ['nothing', [], /entries/],
  ])('refuses %s', async (_, entries, reason) => {
    await expect(read(entries)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(reason) as string,
    });
  });

  it('refuses what is no JSON', async () => {
    const path = join(folder, 'none.json');
    await writeFile(path, 'none');
    await expect(readEntries(path)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('entriesAgainst', () => {
  it('takes codec names, profile files and servers', () => {
    expect(entriesAgainst(['q4', 'some/thin.safetensors', 'http://127.0.0.1:8000/'])).toMatchObject([
      { name: 'q4', codec: 'q4' },
      { name: 'thin', profile: resolve('some/thin.safetensors') },
      { name: '127.0.0.1 8000', url: 'http://127.0.0.1:8000' },
    ]);
  });
});

describe('entryKey', () => {
  it('changes with what is measured and not with its name', () => {
    const base = { name: 'a', codec: 'raw', group: 'rival' } as const;
    expect(entryKey({ ...base, name: 'b', group: 'ours' }, 'sha')).toBe(entryKey(base, 'sha'));
    const others = [
      entryKey(base, 'other'),
      entryKey({ ...base, detail: 64 }, 'sha'),
      entryKey({ ...base, longestEdge: 64 }, 'sha'),
      entryKey({ ...base, weights: 'q8_0' }, 'sha'),
    ];
    expect(new Set([entryKey(base, 'sha'), ...others]).size).toBe(5);
  });
});
