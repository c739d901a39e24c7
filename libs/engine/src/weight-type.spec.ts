import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { storedDtype } from './weight-type.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-weight-type-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function weights(...tensors: [dtype: string, rows: number][]): Promise<void> {
  let end = 0;
  const table = tensors.map(([dtype, rows], i) => {
    const begin = end;
    end += 4 * rows * (dtype === 'F32' ? 4 : 2);
    return [`tensor${i}`, { dtype, shape: [rows, 4], data_offsets: [begin, end] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(table)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(join(folder, 'model.safetensors'), Buffer.concat([length, json, Buffer.alloc(end)]));
}

describe('storedDtype', () => {
  it('names the type that most weights are stored in', async () => {
    await weights(['F32', 3], ['BF16', 2], ['BF16', 2]);
    await expect(storedDtype(folder)).resolves.toBe('bf16');
    await weights(['F32', 3], ['F16', 2]);
    await expect(storedDtype(folder)).resolves.toBe('f32');
  });

  it('takes what the engine has no type for as 32 bits', async () => {
    await weights(['F8_E4M3', 3], ['F16', 2]);
    await expect(storedDtype(folder)).resolves.toBe('f32');
  });

  it('names the file that is cut off, and what it lacks', async () => {
    await weights(['F32', 3], ['F16', 2]);
    const file = join(folder, 'model.safetensors');
    const { size } = await stat(file);
    await truncate(file, size - 1);
    await expect(storedDtype(folder)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: `${file}: cut off, it has ${size - 1} of ${size} bytes: fetch it again`,
    });
  });

  it.each([
    ['nothing', ''],
    ['a pointer of Git LFS', 'version https://git-lfs.github.com/spec/v1\n'],
    ['a header that is no JSON', '\x04\0\0\0\0\0\0\0word'],
    ['a header of other things', '\x04\0\0\0\0\0\0\0null'],
  ])('names the file that holds %s', async (_what, text) => {
    const file = join(folder, 'model.safetensors');
    await writeFile(file, text);
    await expect(storedDtype(folder)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringMatching(`^${file}: not a safetensors file`) as string,
    });
  });

  it('names the file that is a pipe, and does not wait for it', async () => {
    const file = join(folder, 'model.safetensors');
    await rm(file, { force: true });
    execFileSync('mkfifo', [file]);
    await expect(storedDtype(folder)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: `${file}: no regular file`,
    });
    await rm(file);
  });

  it('names the folder when it cannot be read', async () => {
    await expect(storedDtype(join(folder, 'none'))).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });
});
