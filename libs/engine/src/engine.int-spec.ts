import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BLOCK_SHAPE } from '@kvcapsule/domain/paging';
import { readSpecification } from '@kvcapsule/model/folder';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { addonPath, loadBinding } from './binding.js';
import { describeMemory, openEngine, type EngineOptions } from './engine.js';
import { type CpuIsa, type ImageWatch, PageOp, type StepPlan } from './native.js';
import { discoverProfiles } from './profiles/index.js';
import { describeFormats } from './stored-formats.js';

const MODEL_DIR = fileURLToPath(new URL('../../../deploy/models/emoji-vlm', import.meta.url));
const OPTIONS: EngineOptions = {
  modelDir: MODEL_DIR,
  weights: 'f32',
  kvDtype: 'f16',
  threads: 1,
  poolBlocks: 64,
  maxSlots: 4,
  maxStepTokens: 64,
};

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 120_000 });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-engine-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Text only, in a slot of its own; asks for the token after the last one. */
function textPlan(tokens: readonly number[]): StepPlan {
  return {
    ops: Int32Array.of(PageOp.Open, 0, 0, PageOp.Segment, 0, 0, PageOp.Blocks, 0, 2, 0, 0),
    chunks: Int32Array.of(0, 0, tokens.length),
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(tokens.keys()),
    imageHandles: new Int32Array(tokens.length).fill(-1),
    imageRows: new Int32Array(tokens.length),
    samples: Int32Array.of(tokens.length - 1),
    temperature: Float32Array.of(0),
    topP: Float32Array.of(1),
    topK: Int32Array.of(0),
    seed: BigUint64Array.of(0n),
  };
}

const NO_SAMPLES = {
  ...{ samples: new Int32Array(), temperature: new Float32Array(), topP: new Float32Array() },
  ...{ topK: new Int32Array(), seed: new BigUint64Array() },
};

describe('the built addon', () => {
  it('tells its version and the arithmetic of this machine', async () => {
    const info = (await loadBinding()).buildInfo();
    expect([info.version, info.ggml]).toEqual([expect.stringMatching(/\d/), expect.any(String)]);
    expect([`cpu-${info.instructionSet}-1`, `cpu-${info.instructionSet}+amx-1`]).toContain(info.arithmetic);
  });

  it('uses no instruction set beyond the limit, which is another arithmetic', async () => {
    const binding = await loadBinding();
    const { isa, arithmetic } = binding.buildInfo();
    try {
      binding.limitIsa('sse4');
      const limited = { isa: 'sse4', instructionSet: 'sse4', arithmetic: 'cpu-sse4-1' };
      expect(binding.buildInfo()).toMatchObject(limited);
    } finally {
      binding.limitIsa(isa);
    }
    expect(binding.buildInfo()).toMatchObject({ isa, arithmetic });
    expect(() => {
      binding.limitIsa('avx' as CpuIsa);
    }).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('sse4, avx2, avx512 or amx') as string,
      }) as Error,
    );
  });

  it('is limited by a variable when it is loaded', async () => {
    // a file of another name is a module of its own
    const copy = join(folder, 'limited.node');
    await cp(addonPath(), copy);
    try {
      vi.stubEnv('KVCAPSULE_MAX_CPU_ISA', 'avx');
      await expect(loadBinding(copy)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(/^KVCAPSULE_MAX_CPU_ISA: .*sse4, avx2, avx512 or amx/) as string,
      });
      vi.stubEnv('KVCAPSULE_MAX_CPU_ISA', 'sse4');
      expect((await loadBinding(copy)).buildInfo().arithmetic).toBe('cpu-sse4-1');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('tells what an engine will take before it is one', async () => {
    const { modelDir, weights, kvDtype, threads, maxSlots, maxStepTokens } = OPTIONS;
    const model = await readSpecification(modelDir);
    const sizes = { model, weights, kvDtype, threads, maxSlots, maxStepTokens, tiles: 17 };
    const need = await describeMemory({ ...sizes, profiles: [] });
    const engine = await openEngine({ ...OPTIONS, profiles: [] });
    try {
      expect(engine.info).toMatchObject({ ...BLOCK_SHAPE, blockBytes: need.block });
      // memory comes in pages of 2 MiB, and biases are counted too
      expect(Math.abs(need.weights - engine.info.weightBytes)).toBeLessThan(2 ** 21);
      expect(need.workspace).toBeGreaterThan(maxStepTokens * model.text.hidden * 4);
      await expect(
        describeMemory({ ...sizes, model: { ...model, scaleFactor: 3 }, profiles: [] }),
      ).rejects.toMatchObject({ code: 'MODEL_INVALID' });
      const profiles = await discoverProfiles(modelDir);
      const files = await Promise.all(profiles.map(async (path) => (await stat(path)).size));
      const held = await describeMemory({ ...sizes, profiles });
      // 16-bit numbers in the files, floats in several layouts in memory
      expect(need.profiles).toBe(0);
      expect(held.profiles).toBeGreaterThan(2 * files.reduce((sum, bytes) => sum + bytes, 0));
      await expect(
        describeMemory({ ...sizes, profiles: [join(modelDir, 'config.json')] }),
      ).rejects.toMatchObject({ code: 'PROFILE_INVALID' });
    } finally {
      await engine.dispose();
    }
  });

  it('serves the demo model with the profile shipped beside it', async () => {
    const engine = await openEngine(OPTIONS);
    try {
      expect(engine.info).toMatchObject({ layers: 6, kvHeads: 2, headDim: 64, vocab: 1088, blockTokens: 16 });
      expect(engine.profiles.map((profile) => profile.tokens)).toEqual([42, 312, 272]);
      expect(engine.arithmetic).toBe((await loadBinding()).buildInfo().arithmetic);
      expect(engine.info.formats).toMatchObject([
        { codec: 'q8', tokens: 0, pages: 0, bytesPerToken: 6 * 2 * 2 * 66 },
        { codec: 'q4', tokens: 0, pages: 0, bytesPerToken: 6 * 2 * 2 * 36 },
        // pictures of 1, 2 and 3 rows of four tiles, then of four rows of 1 to 4
        ...[
          [93, 3],
          [166, 5],
          [239, 7],
          [96, 3],
          [168, 5],
          [240, 7],
          [312, 9],
        ].map(([tokens, pages]) => ({ codec: 'capsule-mixed', tokens, pages, profileFile: 0 })),
        { codec: 'capsule-mixed', tokens: 312, pages: 9, bytesPerToken: 0, profileFile: 1 },
        { codec: 'capsule', profileFile: 2, tokens: 272, bytesPerToken: 0, markerRows: new Int32Array() },
      ]);
      const result = await engine.step(textPlan([1, 3, 50, 51, 2]));
      expect(result.tokens.length).toBe(1);
    } finally {
      await engine.dispose();
    }
  });

  it('says how the bytes of each format lie over the layers', async () => {
    const engine = await openEngine(OPTIONS);
    try {
      const formats = await describeFormats(engine);
      expect(formats.map(({ codec, tokens }) => [codec, tokens])).toEqual(
        engine.info.formats.map(({ codec, tokens }) => [codec, tokens]),
      );
      for (const [at, { layers, headerBytes, tokens, varies, codec }] of formats.entries()) {
        const { bytes = 0, bytesPerToken = 0, headerBytes: header = 0 } = engine.info.formats[at] ?? {};
        const parts = layers.flatMap(({ keys, values }) => [keys, values]);
        expect(parts.length).toBe(2 * 6);
        const inLayers = parts.reduce((sum, part) => sum + part.bytes, 0);
        expect(new Set(parts.map(({ rawBytes }) => rawBytes))).toEqual(new Set([(tokens || 1) * 2 * 64 * 2]));
        expect(inLayers).toBe(tokens === 0 ? bytesPerToken : bytes - headerBytes);
        // where bits are chosen for each picture, less than one row's first bit of each layer is left over
        expect(headerBytes).toBeGreaterThanOrEqual(header);
        expect(headerBytes - header).toBeLessThan(varies ? 64 : 1);
        expect(varies).toBe(codec === 'capsule-mixed');
        const measured = parts.map(({ keptEnergy }) => keptEnergy);
        if (varies) for (const share of measured) expect(share).toBeGreaterThan(0.7);
        else expect(new Set(measured)).toEqual(new Set([undefined]));
      }
    } finally {
      await engine.dispose();
    }
  });

  it('runs steps between the slices of pictures, and refuses pixels that do not fit', async () => {
    const engine = await openEngine({ ...OPTIONS, profiles: [] });
    try {
      await engine.step(textPlan([1]));
      // one row more of the same slot, at position `at`
      const decodePlan = (at: number): StepPlan => ({
        ...textPlan([3]),
        ops: new Int32Array(),
        positions: Int32Array.of(at),
      });
      await engine.step(decodePlan(1));
      let encoding = 6;
      const encode = async (shade: number) => {
        const image = await engine.encodeImage(new Uint8Array(256 * 256 * 3).fill(shade), 256, 256);
        encoding -= 1;
        return image;
      };
      const pictures = Promise.all([1, 2, 3, 4, 5, 6].map(encode));
      let steps = 0;
      for (; encoding > 0 && steps < 14; steps += 1) await engine.step(decodePlan(2 + steps));
      const images = await pictures;
      expect(images.map(({ tokens }) => tokens)).toEqual(Array.from({ length: 6 }, () => 272));
      expect(new Set(images.map(({ handle }) => handle)).size).toBe(6);
      // in order of arrival the second step would wait for all pictures
      expect(steps).toBeGreaterThan(2);
      await expect(engine.encodeImage(new Uint8Array(10), 2, 2)).rejects.toMatchObject({
        code: 'ENGINE_FAILED',
      });
    } finally {
      await engine.dispose();
    }
  });

  it('says how much of a picture is computed, and gives up one that is not wanted any more', async () => {
    const engine = await openEngine({ ...OPTIONS, profiles: [] });
    const encode = (watch?: ImageWatch) =>
      engine.encodeImage(new Uint8Array(256 * 256 * 3).fill(9), 256, 256, watch);
    try {
      const [whole, cancelled] = [engine.watchImage(), engine.watchImage()];
      expect(whole.share()).toBe(0);
      const ends = [encode(whole), encode(cancelled), encode()];
      cancelled.cancel();
      await expect(ends[1]).rejects.toMatchObject({ code: 'ABORTED' });
      expect((await Promise.all([ends[0], ends[2]])).map((image) => image?.tokens)).toEqual([272, 272]);
      expect(whole.share()).toBe(1);
      await expect(encode({ share: () => 0, cancel: () => undefined })).rejects.toMatchObject({
        code: 'ENGINE_FAILED',
      });
    } finally {
      await engine.dispose();
    }
  });

  it('moves the pages of a sequence out and back, shares and copies its blocks, and answers the same', async () => {
    const engine = await openEngine({ ...OPTIONS, profiles: [] });
    try {
      const prompt = Array.from({ length: 20 }, (_, index) => 40 + index);
      const ops = [PageOp.Open, 0, 0, PageOp.Segment, 0, 0, PageOp.Blocks, 0, 3, 0, 0, 1];
      await engine.step({ ...textPlan(prompt), ops: Int32Array.from(ops) });
      const next = (slot: number, more: number[]): StepPlan => ({
        ...textPlan([60]),
        ops: Int32Array.from(more),
        chunks: Int32Array.of(slot, 0, 1),
        positions: Int32Array.of(20),
        returnLogits: true,
      });
      const pages = Int32Array.from({ length: 16 }, (_, page) => page);
      const bytes = await engine.readPages(pages);
      expect(bytes.length).toBe(16 * engine.info.pageBytes);
      const expected = await engine.step(next(0, []));
      const elsewhere = pages.map((page) => page + 80);
      await engine.writePages(elsewhere, bytes);
      const attach = (slot: number, last: number) => [
        ...[PageOp.Open, slot, 0, PageOp.Segment, slot, 0, PageOp.AttachBlocks, slot, 4, 0, 20, 10, last],
      ];
      const moved = await engine.step(next(1, attach(1, 11)));
      expect(moved.logits).toEqual(expected.logits);
      // block 11 holds row 20 of slot 1 too, but slot 2 has attached the copy's first four rows only
      const copied = await engine.step(next(2, [PageOp.CopyBlock, -1, 2, 11, 12, ...attach(2, 12)]));
      expect(copied.logits).toEqual(expected.logits);
      await expect(engine.readPages(Int32Array.of(64 * 8))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
      await expect(engine.writePages(pages, bytes.subarray(1))).rejects.toMatchObject({
        code: 'ENGINE_FAILED',
      });
    } finally {
      await engine.dispose();
    }
  });

  it('samples by masks, bias and penalties, and tells raw log-probabilities', async () => {
    const engine = await openEngine({ ...OPTIONS, profiles: [] });
    const close = { ...textPlan([]), ops: Int32Array.of(PageOp.Close, 0, 0), chunks: new Int32Array() };
    const ask = async (features: Partial<StepPlan>) => {
      const result = await engine.step({ ...textPlan([1, 3, 50, 51, 2]), ...features });
      await engine.step({ ...close, ...NO_SAMPLES });
      return result;
    };
    try {
      const samples = Int32Array.of(0);
      const plain = await ask({ topLogprobs: Int32Array.of(5) });
      const [best = -1, second = -1] = plain.topTokens;
      expect(plain.tokens[0]).toBe(best);
      expect(plain.logprobs[0]).toBe(plain.topLogprobs[0]);
      const bits = new Uint32Array(Math.ceil(engine.info.vocab / 32));
      bits[2] = 1 << 5;
      const masked = await ask({ masks: { samples, bits }, topLogprobs: Int32Array.of(2) });
      expect([masked.tokens[0], masked.topTokens[0]]).toEqual([69, best]);
      expect(masked.logprobs[0]).toBeLessThan(plain.topLogprobs[1] ?? 0);
      const one = { samples, offsets: Int32Array.of(0, 1), tokens: Int32Array.of(best) };
      const biased = await ask({ bias: { ...one, values: Float32Array.of(-Infinity) } });
      expect([biased.tokens[0], biased.logprobs.length]).toEqual([second, 0]);
      const penalties = { ...one, factors: Float32Array.of(0, 900, 1), counts: Int32Array.of(1) };
      expect((await ask({ penalties })).tokens[0]).toBe(second);
      const wrong = { penalties: { ...penalties, factors: Float32Array.of(0) } };
      await expect(ask(wrong)).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    } finally {
      await engine.dispose();
    }
  });

  it('shows the rows of a segment and the queries of its samples, for evaluation', async () => {
    const engine = await openEngine({ ...OPTIONS, profiles: [] });
    try {
      const { layers, heads, kvHeads, headDim } = engine.info;
      const plan = { ...textPlan([50, 51, 50]), samples: Int32Array.of(0, 2), returnQueries: true };
      const two = {
        temperature: new Float32Array(2),
        topP: new Float32Array(2).fill(1),
        topK: new Int32Array(2),
      };
      const { queries = new Float32Array() } = await engine.step({
        ...plan,
        ...two,
        seed: new BigUint64Array(2),
      });
      expect(queries.length).toBe(layers * 2 * heads * headDim);
      const rows = await engine.readRows(0, 0);
      expect(rows.length).toBe(layers * 2 * kvHeads * 3 * headDim);
      const unit = (part: number) =>
        [0, 2].map((row) => [...rows.subarray((part * kvHeads * 3 + row) * headDim).subarray(0, headDim)]);
      const query = [0, 1].map((sample) => [
        ...queries.subarray(sample * heads * headDim).subarray(0, headDim),
      ]);
      // In the first layer a token's value is the same wherever it stands, its key and query are turned.
      const [values, keys] = [unit(1), unit(0)];
      expect(values[0]).toEqual(values[1]);
      for (const [here = [], there = []] of [keys, query]) {
        expect(here).not.toEqual(there);
        expect(Math.hypot(...here)).toBeCloseTo(Math.hypot(...there), 1);
      }
      for (const [slot, segment] of [
        [0, 1],
        [1, 0],
      ] as const) {
        await expect(engine.readRows(slot, segment)).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
      }
    } finally {
      await engine.dispose();
    }
  });

  it('fails a step that breaks the contract, and serves the next one', async () => {
    const engine = await openEngine({ ...OPTIONS, profiles: [] });
    try {
      const wrong = { ...textPlan([1, 3]), chunks: Int32Array.of(3, 0, 2) };
      await expect(engine.step(wrong)).rejects.toMatchObject({ name: 'KvcError', code: 'ENGINE_FAILED' });
    } finally {
      await engine.dispose();
    }
    await expect(engine.step(textPlan([1]))).rejects.toMatchObject({ code: 'DRAINING' });
  });

  it('refuses a profile of another model', async () => {
    const other = join(folder, 'other-model');
    await cp(MODEL_DIR, other, { recursive: true });
    const weights = await readFile(join(other, 'model.safetensors'));
    weights.writeUInt8(weights.readUInt8(weights.length - 1) ^ 1, weights.length - 1);
    await writeFile(join(other, 'model.safetensors'), weights);
    await expect(openEngine({ ...OPTIONS, modelDir: other })).rejects.toMatchObject({
      code: 'PROFILE_INVALID',
      message: expect.stringContaining('was fitted for model revision') as string,
    });
  });

  it('gives its memory back', async () => {
    const cycle = async () => {
      const engine = await openEngine({ ...OPTIONS, poolBlocks: 256 });
      await engine.step(textPlan([1, 3, 50, 51, 2]));
      await engine.dispose();
    };
    for (let warmUp = 0; warmUp < 3; warmUp++) await cycle();
    const before = process.memoryUsage.rss();
    for (let round = 0; round < 8; round++) await cycle();
    // Weights alone are 27 MB in f32: engines that stayed would show at once.
    expect(process.memoryUsage.rss() - before).toBeLessThan(60e6);
  });
});
