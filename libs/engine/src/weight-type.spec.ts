import { mkdtemp, rm, writeFile } from 'node:fs/promises';
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

  it('names the folder when it cannot be read', async () => {
    await expect(storedDtype(join(folder, 'none'))).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });
});
