import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_MODEL_DIR } from '../paths.js';
import { interleaveHeads, writeGguf } from './gguf.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-gguf-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('interleaveHeads', () => {
  it('puts the halves of each rotated pair side by side, head by head', () => {
    // two heads of four rows of one column
    const rows = Float32Array.of(0, 1, 2, 3, 10, 11, 12, 13);
    expect([...interleaveHeads(rows, 2, 1)]).toEqual([0, 2, 1, 3, 10, 12, 11, 13]);
  });
});

describe('writeGguf', () => {
  it('places every tensor of the demo model inside the file, aligned', async () => {
    const path = join(folder, 'demo.gguf');
    await writeGguf(DEFAULT_MODEL_DIR, 'f16', path);
    const file = await readFile(path);
    expect(file.toString('ascii', 0, 4)).toBe('GGUF');
    expect(file.readUInt32LE(4)).toBe(3);
    // embedding, final norm, nine tensors in each of six layers; the head is tied
    expect(Number(file.readBigUInt64LE(8))).toBe(2 + 9 * 6);
    const name = 'blk.5.ffn_down.weight';
    // name, two dimensions, type, offset
    const at = file.indexOf(name) + name.length;
    expect([file.readUInt32LE(at), Number(file.readBigUInt64LE(at + 4))]).toEqual([2, 640]);
    const [type, offset] = [file.readUInt32LE(at + 20), Number(file.readBigUInt64LE(at + 24))];
    expect([type, offset % 32]).toEqual([1, 0]);
    // the last tensor ends the file
    const bytes = 640 * 256 * 2;
    const start = file.length - bytes;
    expect(start % 32).toBe(0);
    expect(offset).toBeLessThan(start);
  });

  it('names what a folder lacks', async () => {
    await copyFile(join(DEFAULT_MODEL_DIR, 'config.json'), join(folder, 'config.json'));
    await expect(writeGguf(folder, 'f32', join(folder, 'x.gguf'))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('preprocessor_config.json: missing') as string,
    });
  });
});
