import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { processorRevision } from './processor-revision.js';

describe('processorRevision', () => {
  let parent: string;
  let folders = 0;
  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'kvcapsule-processor-'));
  });
  afterAll(() => rm(parent, { recursive: true }));

  async function revisionOf(files: Readonly<Record<string, string>>): Promise<string> {
    folders += 1;
    const dir = join(parent, String(folders));
    await mkdir(dir);
    for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
    return processorRevision(dir);
  }
  const FILES = { 'tokenizer.json': 'ab', 'chat_template.jinja': 'c' };

  it('is the same for the same files, wherever they lie and whatever lies beside them', async () => {
    const revision = await revisionOf(FILES);
    expect(revision).toMatch(/^[0-9a-f]{64}$/);
    expect(await revisionOf({ ...FILES, 'model.safetensors': 'weights', 'README.md': 'text' })).toBe(
      revision,
    );
  });

  it('differs with any of the files, with what they hold and with where one ends', async () => {
    const others = [
      FILES,
      { ...FILES, 'tokenizer.json': 'ac' },
      { 'tokenizer.json': 'a', 'chat_template.jinja': 'bc' },
      { 'tokenizer.json': 'ab', 'chat_template.json': 'c' },
      { ...FILES, 'tokenizer_config.json': '' },
      { ...FILES, 'preprocessor_config.json': '{}' },
      { ...FILES, 'processor_config.json': '{}' },
    ];
    const revisions = await Promise.all(others.map((files) => revisionOf(files)));
    expect(new Set(revisions).size).toBe(others.length);
  });

  it('names a file that cannot be read', async () => {
    folders += 1;
    const dir = join(parent, String(folders));
    await mkdir(join(dir, 'tokenizer.json'), { recursive: true });
    await expect(processorRevision(dir)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: 'tokenizer.json: is a folder',
    });
  });
});
