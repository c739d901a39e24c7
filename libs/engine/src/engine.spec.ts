import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadBinding } from './binding.js';
import { openEngine, type EngineOptions } from './engine.js';
import { modelRevision } from './model-revision.js';
import type { NativeCalibration } from './native-calibration.js';
import type { NativeBinding, NativeEngine, NativeEngineOptions } from './native.js';

const CONFIG = {
  ...{ model_type: 'idefics3', image_token_id: 6, scale_factor: 1, vision_config: { patch_size: 16 } },
  text_config: { num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, hidden_size: 8 },
};

let modelDir: string;
beforeEach(async () => {
  modelDir = await mkdtemp(join(tmpdir(), 'kvcapsule-engine-'));
  await writeFile(join(modelDir, 'config.json'), JSON.stringify(CONFIG));
  await writeFile(join(modelDir, 'preprocessor_config.json'), '{"max_image_size":{"longest_edge":64}}');
  await writeFile(join(modelDir, 'model.safetensors'), 'weights');
});
afterEach(() => rm(modelDir, { recursive: true }));

const created: NativeEngineOptions[] = [];

function fakeBinding(engine: Partial<NativeEngine>): NativeBinding {
  const native = { info: {}, dispose: () => Promise.resolve(), ...engine } as NativeEngine;
  return {
    createEngine: (given) => {
      created.push(given);
      return Promise.resolve(native);
    },
    describeMemory: () => ({ weights: 0, block: 0, workspace: 0, threads: 0, tiles: 0, profiles: 0 }),
    buildInfo: () => ({
      version: '0',
      ggml: '0',
      isa: 'avx2',
      instructionSet: 'avx2',
      arithmetic: 'cpu-avx2-1',
    }),
    limitIsa: () => undefined,
    measureRoof: () => ({ readBytesPerSecond: 0, flopsPerSecond: 0 }),
  };
}

function options(engine: Partial<NativeEngine>): EngineOptions {
  const sizes = { threads: 1, poolBlocks: 4, maxSlots: 1, maxStepTokens: 16 };
  return { modelDir, weights: 'f32', kvDtype: 'f16', ...sizes, binding: fakeBinding(engine) };
}

describe('openEngine', () => {
  it('turns native rejections into errors of the catalogue', async () => {
    const coded = Object.assign(new Error('no such handle'), { code: 'PROFILE_INVALID' });
    const engine = await openEngine(
      options({
        releaseImage: () => Promise.reject(coded),
        calibration: {
          fit: () => Promise.reject(new TypeError('something else')),
        } as unknown as NativeCalibration,
      }),
    );
    await expect(engine.releaseImage(1)).rejects.toMatchObject({ name: 'KvcError', code: 'PROFILE_INVALID' });
    await expect(
      engine.calibration.fit({ tokens: 1, retention: new Float32Array(), path: '', metadata: {} }),
    ).rejects.toMatchObject({
      name: 'KvcError',
      code: 'ENGINE_FAILED',
      message: 'something else',
    });
  });

  it('says which arithmetic it computes with', async () => {
    expect((await openEngine(options({}))).arithmetic).toBe('cpu-avx2-1');
  });

  it('disposes once and refuses calls after', async () => {
    let disposals = 0;
    const engine = await openEngine(options({ dispose: () => Promise.resolve(void disposals++) }));
    await Promise.all([engine.dispose(), engine.dispose()]);
    expect(disposals).toBe(1);
    await expect(engine.releaseImage(1)).rejects.toMatchObject({ code: 'DRAINING' });
  });

  it('hands the checked settings of the folder to the engine', async () => {
    const engine = await openEngine(options({}));
    expect(created.at(-1)?.model).toBe(engine.specification);
    expect(engine.specification).toMatchObject({
      family: 'idefics3',
      text: { layers: 2, heads: 2, kvHeads: 1, headDim: 4, hidden: 8, ropeTheta: 10_000 },
      pictures: { longestEdgePx: 1456, tilePx: 64, splits: true },
      tokensPerTile: 16,
    });
  });

  it('refuses a folder without weights, and a config without a family', async () => {
    await writeFile(join(modelDir, 'config.json'), JSON.stringify({ text_config: { hidden_size: 8 } }));
    await expect(openEngine(options({}))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('config.json: model_type') as string,
    });
    await rm(join(modelDir, 'model.safetensors'));
    await expect(openEngine(options({}))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('safetensors') as string,
    });
  });
});

describe('modelRevision', () => {
  it('changes with the config, the weights and where one ends and the other begins', async () => {
    const revisions = new Set([await modelRevision(modelDir)]);
    for (const [name, content] of [
      ['model.safetensors', 'weightz'],
      ['config.json', '{}'],
      ['model-2.safetensors', ''],
    ] as const) {
      await writeFile(join(modelDir, name), content);
      revisions.add(await modelRevision(modelDir));
    }
    await writeFile(join(modelDir, 'README.md'), 'not part of it');
    revisions.add(await modelRevision(modelDir));
    expect(revisions.size).toBe(4);
  });
});

describe('loadBinding', () => {
  it('says that the addon is not built', async () => {
    await expect(loadBinding(join(modelDir, 'none.node'))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('not built') as string,
    });
  });

  it('survives a binary that does not load', async () => {
    const path = join(modelDir, 'broken.node');
    await writeFile(path, 'this is no shared object');
    await expect(loadBinding(path)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('cannot be loaded') as string,
    });
  });

  it('names what the processor lacks instead of being killed by it', async () => {
    const [path, cpuInfo] = [join(modelDir, 'any.node'), join(modelDir, 'cpuinfo')];
    await writeFile(path, 'this is no shared object');
    const load = async (text: string) => {
      await writeFile(cpuInfo, text);
      return loadBinding(path, cpuInfo).catch((error: unknown) => error);
    };
    const least = 'fpu sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt pclmulqdq aes';
    const of = (flags: string) => `processor\t: 0\nflags\t\t: ${flags}\nbugs\t\t: aes\n`;
    expect(await load(of(least.replace(' sse4_2', '').replace(' popcnt', '')))).toMatchObject({
      code: 'CPU_UNSUPPORTED',
      message: 'This processor lacks sse4_2, popcnt.',
    });
    expect(await load(of(least.replace(' aes', '')))).toMatchObject({ code: 'CPU_UNSUPPORTED' });
    // these are let through, to what the file itself is
    for (const text of [of(least), 'processor\t: 0\nFeatures\t: fp asimd\n', ''])
      expect(await load(text)).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await loadBinding(path, join(modelDir, 'none')).catch((error: unknown) => error)).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});
