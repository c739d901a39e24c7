import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { discoverProfiles, PROFILE_FORMAT, sealProfile, verifyProfile } from './index.js';

const EXPECTED = { modelRevision: 'a'.repeat(64), layers: 2, kvHeads: 1, headDim: 4 };
const METADATA = {
  format: PROFILE_FORMAT,
  version: '1',
  model_revision: EXPECTED.modelRevision,
  n: '8',
  layers: '2',
  kv_heads: '1',
  head_dim: '4',
  retention: '0.5',
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-profile-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function unsealed(name: string, metadata: Record<string, string> = METADATA): Promise<string> {
  const tensor = { dtype: 'F32', shape: [4], data_offsets: [0, 16] };
  const json = Buffer.from(JSON.stringify({ __metadata__: metadata, theta: tensor }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, name);
  await writeFile(path, Buffer.concat([length, json, Buffer.from(new Float32Array([1, 2, 3, 4]).buffer)]));
  return path;
}

async function sealed(name: string, changed: Record<string, string> = {}): Promise<string> {
  const path = await unsealed(name, { ...METADATA, ...changed });
  await sealProfile(path);
  return path;
}

const refusal = (reason: RegExp) => ({
  code: 'PROFILE_INVALID',
  message: expect.stringMatching(reason) as string,
});

describe('verifyProfile', () => {
  it('describes a whole profile of this model', async () => {
    const path = await sealed('good.safetensors');
    await expect(verifyProfile(path, { ...EXPECTED, tokens: 8 })).resolves.toMatchObject({
      path,
      tokens: 8,
      retention: '0.5',
    });
  });

  it.each([
    [
      'another model',
      { model_revision: 'b'.repeat(64) },
      /fitted for model revision b{12}, this model is a{12}/,
    ],
    ['other layers', { layers: '3' }, /3 layers, 2 are asked for/],
    ['other heads', { kv_heads: '2' }, /2 KV heads, 1 are asked for/],
    ['other channels', { head_dim: '64' }, /64 channels a head, 4 are asked for/],
    ['another n', { n: '16' }, /16 covered tokens, 8 are asked for/],
    ['a newer format', { version: '4' }, /metadata is not valid.*version/s],
    ['a codec that is none', { codec: 'capsule-q9' }, /metadata is not valid.*codec/s],
    ['no number', { n: 'many' }, /metadata is not valid.*n/s],
  ])('refuses %s by name', async (_, changed, reason) => {
    const path = await sealed('wrong.safetensors', changed);
    await expect(verifyProfile(path, { ...EXPECTED, tokens: 8 })).rejects.toMatchObject(refusal(reason));
  });

  it('refuses a profile without its hash', async () => {
    await expect(verifyProfile(await unsealed('unsealed.safetensors'), EXPECTED)).rejects.toMatchObject(
      refusal(/content_sha256/),
    );
  });

  it('refuses files that are missing, empty or something else', async () => {
    const missing = join(folder, 'missing.safetensors');
    await expect(verifyProfile(missing, EXPECTED)).rejects.toMatchObject(refusal(/ENOENT/));
    const other = join(folder, 'other.safetensors');
    for (const content of ['', 'short', '\xff'.repeat(64), '{"some":"json", "that": "is long enough"}']) {
      await writeFile(other, content);
      await expect(verifyProfile(other, EXPECTED)).rejects.toMatchObject(refusal(/cannot be read/));
    }
  });

  it('refuses every cut and every changed byte', async () => {
    const whole = await readFile(await sealed('whole.safetensors'));
    const path = join(folder, 'spoilt.safetensors');
    const space = ' '.charCodeAt(0);
    const spoil = fc.oneof(
      fc.nat(whole.length - 1).map((end) => whole.subarray(0, end)),
      fc
        .record({
          // What pads the header may be any white space.
          at: fc.nat(whole.length - 1).filter((at) => whole[at] !== space),
          flip: fc.integer({ min: 1, max: 255 }),
        })
        .map(({ at, flip }) => {
          const copy = Buffer.from(whole);
          copy[at] = (copy[at] ?? 0) ^ flip;
          return copy;
        }),
      fc.uint8Array({ minLength: 1, maxLength: 9 }).map((extra) => Buffer.concat([whole, extra])),
    );
    await fc.assert(
      fc.asyncProperty(spoil, async (file) => {
        await writeFile(path, file);
        await expect(verifyProfile(path, EXPECTED)).rejects.toMatchObject({ code: 'PROFILE_INVALID' });
      }),
      { numRuns: 300, seed: 9 },
    );
  });
});

describe('sealProfile', () => {
  it('gives profiles that differ in a text alone different hashes', async () => {
    const hashes = await Promise.all(
      ['36864', '55296'].map(async (bytes) => {
        const path = await sealed(`bytes-${bytes}.safetensors`, { bytes });
        return (await verifyProfile(path, EXPECTED)).contentSha256;
      }),
    );
    expect(new Set(hashes).size).toBe(2);
  });

  it('seals again what was sealed', async () => {
    const path = await sealed('again.safetensors');
    const { contentSha256 } = await verifyProfile(path, EXPECTED);
    await sealProfile(path);
    expect(await verifyProfile(path, EXPECTED)).toMatchObject({ contentSha256 });
  });

  it('keeps the tensors at a multiple of eight', async () => {
    const file = await readFile(await sealed('aligned.safetensors'));
    expect(Number(file.readBigUInt64LE()) % 8).toBe(0);
    expect([
      ...new Float32Array(
        file.buffer.slice(file.byteOffset + file.length - 16, file.byteOffset + file.length),
      ),
    ]).toEqual([1, 2, 3, 4]);
  });
});

describe('discoverProfiles', () => {
  it('finds safetensors in order of names, and none without a folder', async () => {
    const model = join(folder, 'model');
    await mkdir(join(model, 'profiles'), { recursive: true });
    for (const name of ['b.safetensors', 'a.safetensors', 'README.md']) {
      await writeFile(join(model, 'profiles', name), '');
    }
    const names = (await discoverProfiles(model)).map((path) => path.slice(model.length));
    expect(names).toEqual(['/profiles/a.safetensors', '/profiles/b.safetensors']);
    expect(await discoverProfiles(folder)).toEqual([]);
  });

  it('names a folder of profiles that is none', async () => {
    const model = join(folder, 'model-with-a-file');
    await mkdir(model);
    await writeFile(join(model, 'profiles'), '');
    await expect(discoverProfiles(model)).rejects.toMatchObject(refusal(/profiles: cannot be read .ENOTDIR/));
  });
});
