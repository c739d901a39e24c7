import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelSize } from './model-size.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-model-size-'));
  const vision = {
    hidden_size: 8,
    intermediate_size: 16,
    num_attention_heads: 2,
    image_size: 64,
    patch_size: 16,
  };
  const text = { hidden_size: 4, intermediate_size: 12, vocab_size: 20 };
  await writeFile(join(folder, 'config.json'), JSON.stringify({ text_config: text, vision_config: vision }));
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

describe('modelSize', () => {
  it('names the type that most weights are stored in', async () => {
    await weights(['F32', 3], ['BF16', 2], ['BF16', 2]);
    await expect(modelSize(folder)).resolves.toMatchObject({ parameters: 28, dtype: 'bf16' });
    await weights(['F32', 3], ['F16', 2]);
    await expect(modelSize(folder)).resolves.toMatchObject({ parameters: 20, dtype: 'f32' });
  });

  it('takes what the engine has no type for as 32 bits', async () => {
    await weights(['F8_E4M3', 3], ['F16', 2]);
    await expect(modelSize(folder)).resolves.toMatchObject({ dtype: 'f32' });
  });

  it('names the folder when there is no config', async () => {
    await expect(modelSize(join(folder, 'none'))).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });
});
