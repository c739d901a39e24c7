import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeProfile } from '@kvcapsule/engine';
import { sceneOfSeries } from '@kvcapsule/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { calibrateOptions } from './calibrate-flags.js';
import { calibrate, type CalibrateOptions } from '@kvcapsule/evaluation/calibration';
import { entriesAgainst } from '@kvcapsule/evaluation/fidelity';
import { evaluate, type EvalOptions } from '@kvcapsule/evaluation/fidelity';
import { DEFAULT_MODEL_DIR } from './paths.js';

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 240_000 });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-calibrate-'));
});
afterAll(() => rm(folder, { recursive: true }));

const calibration = (changed: Partial<CalibrateOptions>): CalibrateOptions => ({
  model: DEFAULT_MODEL_DIR,
  images: 'scenes:3',
  out: join(folder, 'capsule.safetensors'),
  count: 12,
  fit: { kind: 'rows', retentions: [1], schedule: 'flat' },
  threads: 2,
  ...changed,
});

const PACKED_FLAGS = {
  model: '',
  images: '',
  out: '',
  count: '1',
  codec: 'capsule-mixed',
  ratio: '16',
  groups: 'tiles',
  keyTemplate: 'group',
  valueTemplate: 'all',
  basis: 'principal',
  allocation: 'picture',
  without: '',
  sensitivities: '',
  rowBits: '',
  candidates: '1.5',
  rowCost: '1',
  retention: '1',
  schedule: 'flat',
  statistics: '',
  threads: '2',
};

const evaluation = (profiles: readonly string[], changed: Partial<EvalOptions> = {}): EvalOptions => ({
  model: DEFAULT_MODEL_DIR,
  entries: entriesAgainst(profiles),
  scenes: { questions: 6, conversations: 0, several: 0, attention: 0 },
  questionsPerScene: 3,
  seed: 99,
  artwork: 'known',
  threads: 2,
  journal: join(folder, 'accuracy.journal.jsonl'),
  ...changed,
});

const quiet = () => undefined;

describe('calibrate and eval', () => {
  it('fit profiles in one pass, of which the whole one loses nothing and a thin one something', async () => {
    const paths = await calibrate(
      calibration({ fit: { kind: 'rows', retentions: [1, 0.05], schedule: 'flat' } }),
      quiet,
    );
    expect(paths.map((path) => path.slice(folder.length))).toEqual([
      '/capsule-r100.safetensors',
      '/capsule-r05.safetensors',
    ]);
    const { entries } = await evaluate(evaluation(paths), 'test', quiet);
    const [raw, whole, thin] = entries;
    expect(entries.map(({ name }) => name)).toEqual(['raw', 'capsule-r100', 'capsule-r05']);
    // Twelve of eighteen: far below what the model reaches, far above what chance does.
    expect(raw?.questions.correct).toBeGreaterThanOrEqual(12);
    expect(whole?.questions.correct).toBe(raw?.questions.correct);
    // What is left is the 16-bit rounding of the values' coefficients.
    const [wholeKl, thinKl] = [whole, thin].map((entry) => entry?.questions.againstRaw?.klMean.value ?? NaN);
    expect(wholeKl).toBeLessThan(1e-4);
    expect(whole?.questions.againstRaw?.top1Agreement.value).toBe(1);
    expect(thinKl).toBeGreaterThan(10 * (wholeKl ?? NaN));
    expect(thin?.bytes?.heldBytes).toBeLessThan((raw?.bytes?.heldBytes ?? 0) / 4);
  });

  it('fits packed profiles of several sizes, each within its pages and the larger one closer to raw', async () => {
    const choices = calibrateOptions({ ...PACKED_FLAGS, ratio: '8,40' }).fit;
    const written = await calibrate(calibration({ count: 24, fit: choices }), quiet);
    const paths = written.filter((path) => !path.endsWith('-pooled.safetensors'));
    expect(written).toHaveLength(2 * paths.length);
    const { entries } = await evaluate(
      evaluation(paths, { journal: join(folder, 'packed.journal.jsonl') }),
      'test',
      quiet,
    );
    const [raw, large, small] = entries;
    expect(entries.map(({ name }) => name)).toEqual(['raw', 'capsule-x8', 'capsule-x40']);
    const kl = (entry: typeof raw) => entry?.questions.againstRaw?.klMean.value ?? NaN;
    expect(kl(large)).toBeLessThan(2e-3);
    expect(kl(small)).toBeGreaterThan(3 * kl(large));
    expect(large?.bytes?.heldBytes).toBeLessThanOrEqual((raw?.bytes?.heldBytes ?? 0) / 8);
    expect(small?.bytes?.heldBytes).toBeLessThanOrEqual((raw?.bytes?.heldBytes ?? 0) / 40);
  });

  it('fits from statistics that were kept as from the pictures themselves', async () => {
    const statistics = await mkdtemp(join(folder, 'kept-'));
    const fit = calibrateOptions({ ...PACKED_FLAGS, without: 'sensitivity' }).fit;
    const fitted = async (name: string) => {
      const lines: string[] = [];
      const out = join(folder, name);
      await calibrate(calibration({ count: 32, fit, out, statistics }), (line) => lines.push(line));
      return {
        bytes: await readFile(out),
        looked: lines.filter((line) => line.startsWith('pictures')).length,
      };
    };
    const [first, second] = [await fitted('first.safetensors'), await fitted('second.safetensors')];
    expect(await readdir(statistics)).toHaveLength(1);
    expect(second.bytes.equals(first.bytes)).toBe(true);
    // The last batch holds no questions to try errors on, so nobody looks at it again.
    expect(second.looked).toBe(first.looked - 1);
  });

  it('fits what pictures of mixed shapes have in common, for grids that few or none of them have', async () => {
    const out = join(folder, 'mixed.safetensors');
    const { fit } = calibrateOptions({ ...PACKED_FLAGS, without: 'sensitivity' });
    const paths = await calibrate(calibration({ images: 'scenes:3/mixed', count: 28, fit, out }), quiet);
    expect(paths).toEqual([out, join(folder, 'mixed-pooled.safetensors')]);
    const [, pooled = ''] = paths;
    const { layouts } = await describeProfile(pooled);
    expect(layouts.map(({ name }) => name)).toEqual(['4x3', '3x4', '4x2', '2x4', '4x1', '1x4']);
    const { entries, picture } = await evaluate(
      evaluation([pooled], { crop: { rows: 2, cols: 4 }, journal: join(folder, 'mixed.journal.jsonl') }),
      'test',
      quiet,
    );
    const entry = entries[1];
    expect(entry?.questions.againstRaw?.klMean.value).toBeLessThan(0.01);
    expect(entry?.bytes?.tokens).toBe(picture.tokens);
    expect(entry?.bytes?.heldBytes).toBeLessThanOrEqual(picture.rawBytes / 16);
    await expect(
      evaluate(evaluation([pooled], { journal: join(folder, 'x.journal.jsonl') }), 'test', quiet),
    ).rejects.toThrow(/pictures of another shape/);
  });

  it('goes on with mixed shapes where it stopped', async () => {
    const statistics = await mkdtemp(join(folder, 'stopped-'));
    const { fit } = calibrateOptions({ ...PACKED_FLAGS, groups: 'pooled', without: 'sensitivity' });
    const bytes = [];
    for (const out of ['once.safetensors', 'again.safetensors']) {
      const paths = await calibrate(
        calibration({ images: 'scenes:3/mixed', count: 16, fit, out: join(folder, out), statistics }),
        quiet,
      );
      expect(paths).toHaveLength(1);
      bytes.push(await readFile(paths[0] ?? ''));
    }
    expect(bytes[0]?.equals(bytes[1] ?? Buffer.alloc(0))).toBe(true);
  });

  it('takes a folder of pictures, at most as many as asked for', async () => {
    for (const index of [0, 1, 2]) {
      await writeFile(join(folder, `${index}.png`), (await sceneOfSeries(1, index)).png);
    }
    const lines: string[] = [];
    const out = join(folder, 'from-folder.safetensors');
    await calibrate(
      calibration({
        images: folder,
        count: 2,
        fit: { kind: 'rows', retentions: [0.25], schedule: 'flat' },
        out,
      }),
      (line) => lines.push(line),
    );
    expect(lines.at(-1)).toContain('n = 272, 2 pictures');
    expect(await readdir(folder)).toContain('from-folder.safetensors');
  });

  it('says what is wrong with the pictures', async () => {
    const mixed = await mkdtemp(join(folder, 'mixed-'));
    await expect(calibrate(calibration({ images: mixed }), quiet)).rejects.toThrow(/holds no PNG/);
    await writeFile(join(mixed, 'a.png'), 'no picture');
    await expect(calibrate(calibration({ images: mixed }), quiet)).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    });
    await expect(calibrate(calibration({ images: join(mixed, 'none') }), quiet)).rejects.toThrow(
      /cannot be read/,
    );
  });
});
