import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DEFAULT_MODEL_DIR } from '../paths.js';
import type { Entry } from '@kvcapsule/evaluation/fidelity';
import { evaluate, measureShard, type EvalOptions, type EvalReport } from '@kvcapsule/evaluation/fidelity';

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 240_000 });

const PROFILE = join(DEFAULT_MODEL_DIR, 'profiles/capsule-r40.safetensors');
const ENTRIES: readonly Entry[] = [
  { name: 'thin', profile: PROFILE, group: 'ours' },
  { name: 'q4', codec: 'q4', group: 'rival' },
  { name: 'fewer tiles', codec: 'raw', longestEdge: 128, group: 'rival' },
  { name: 'q8_0 weights', codec: 'raw', weights: 'q8_0', group: 'ours' },
  { name: 'q4_1 weights', codec: 'raw', weights: 'q4_1', group: 'ours' },
  { name: 'same detail', codec: 'raw', detail: 256, group: 'rival' },
  { name: 'no detail', codec: 'raw', detail: 16, hard: true, group: 'rival' },
];

let folder: string;
let whole: EvalReport;
const options = (name: string, changed: Partial<EvalOptions> = {}): EvalOptions => ({
  model: DEFAULT_MODEL_DIR,
  entries: ENTRIES,
  scenes: { questions: 5, conversations: 1, several: 3, attention: 1 },
  questionsPerScene: 3,
  seed: 99,
  artwork: 'known',
  threads: 2,
  journal: join(folder, `${name}.jsonl`),
  ...changed,
});
const measure = (changed: EvalOptions) => evaluate(changed, 'test', () => undefined);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-eval-'));
  whole = await measure(options('whole'));
}, 240_000);
afterAll(() => rm(folder, { recursive: true }));

const entry = (name: string) => whole.entries.find((one) => one.name === name);

describe('evaluate', () => {
  it('finds no difference between a picture and itself, and a great one where detail is gone', () => {
    const same = entry('same detail')?.questions.againstRaw;
    expect(same).toMatchObject({ lost: 0, won: 0, top1Agreement: { value: 1 } });
    // Raw read its answer token by token, the other all at once: only the order of sums differs.
    expect(same?.klP99).toBeLessThan(1e-9);
    expect(entry('no detail')?.questions.againstRaw?.klMean.value).toBeGreaterThan(0.1);
    expect(entry('no detail')?.hard?.correct).toBe(0);
  });

  it('finds little difference with weights of eight bits, and more with four', () => {
    const [eight, four] = ['q8_0 weights', 'q4_1 weights'].map(
      (name) => entry(name)?.questions.againstRaw?.klMean.value ?? Number.NaN,
    );
    expect(eight).toBeGreaterThan(0);
    expect(eight).toBeLessThan(0.0001);
    expect(four).toBeGreaterThan(5 * (eight ?? Number.NaN));
    expect(four).toBeLessThan(0.05);
  });

  it('tells codecs apart on the same capsule, later in a conversation and among other pictures', () => {
    const thin = entry('thin');
    expect(thin?.conversations.map(({ turn }) => turn)).toEqual([1, 2, 10]);
    expect(thin?.several.map(({ pictures, place }) => [pictures, place])).toEqual([
      [1, 1],
      [2, 1],
      [2, 2],
    ]);
    const places = [...(thin?.conversations ?? []), ...(thin?.several ?? [])];
    for (const againstRaw of [thin?.questions, ...places.map(({ summary }) => summary)].map(
      (summary) => summary?.againstRaw,
    )) {
      expect(againstRaw?.klMean.value).toBeGreaterThan(0);
      expect(againstRaw?.klMean.value).toBeLessThan(0.1);
    }
  });

  it('looks inside attention, where few bits show and errors add up', () => {
    const [thin, q4] = [entry('thin')?.attention ?? [], entry('q4')?.attention ?? []];
    expect(thin).toHaveLength(6);
    for (const [layer, cosines] of [...thin, ...q4].entries()) {
      const [keys = 0, values = 0, both = 0, running = 0] = cosines;
      for (const value of [keys, values, both, running]) {
        expect(value).toBeGreaterThan(0.97);
        expect(value).toBeLessThan(1);
      }
      expect(Math.min(keys, values)).toBeGreaterThan(both - 1e-4);
      // Nothing comes before the first layer: its queries are raw's.
      if (layer % 6 === 0) expect(running).toBeCloseTo(both, 6);
    }
    expect(entry('same detail')?.attention).toEqual([]);
  });

  it('counts every page that a picture holds', () => {
    // 312 tokens of 3,072 bytes in 20 blocks; 5 tiles of 16 tokens and 14 markers in 6.
    expect(whole.picture).toEqual({ tokens: 312, visualTokens: 272, rawBytes: 312 * 3072 });
    expect(entry('raw')?.bytes?.heldBytes).toBe(20 * 16 * 3072);
    expect(entry('fewer tiles')?.bytes).toMatchObject({ tokens: 94, heldBytes: 6 * 16 * 3072 });
    // Whatever the codec's layout: never less than 4 bits a channel and a scale.
    expect(entry('q4')?.bytes?.heldBytes).toBeGreaterThan((312 * 3072) / 4);
    expect(entry('q4')?.ratio).toBeGreaterThan(3);
  });

  it('goes on where it was stopped, and comes to the same numbers with another number of threads', async () => {
    const lines = (await readFile(options('whole').journal, 'utf8')).split('\n');
    // The header and a third of the results, the last of them cut short.
    const kept = lines.slice(0, Math.ceil(lines.length / 3)).join('\n');
    await writeFile(options('stopped').journal, kept.slice(0, -20));
    const resumed = await measure(options('stopped', { threads: 1 }));
    expect(resumed.entries).toEqual(whole.entries);
  });

  it('comes to the same numbers in parts that know nothing of each other', async () => {
    const parts = [0, 1, 2].map((index) => options(`part${index}`, { shard: { index, of: 3 }, threads: 1 }));
    for (const part of parts) await measureShard(part, () => undefined);
    const lines: string[] = [];
    const merge = parts.map(({ journal }) => journal);
    const merged = await evaluate(options('merged', { merge }), 'test', (line) => lines.push(line));
    expect(lines).toEqual([]);
    expect(merged.entries).toEqual(whole.entries);
    expect(merged.machines).toEqual(whole.machines);
  });

  it('measures a new entry without the others, and refuses results of another series', async () => {
    await copyFile(options('whole').journal, options('more').journal);
    const lines: string[] = [];
    await evaluate(options('more'), 'test', (line) => lines.push(line));
    expect(lines).toEqual([]);
    await expect(measure(options('more', { seed: 98 }))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('another seed') as string,
    });
  });

  it('asks an entry about more scenes than the others, and raw about the same', async () => {
    const entries: Entry[] = [
      { name: 'q4', codec: 'q4', group: 'rival' },
      { name: 'q8', codec: 'q8', group: 'rival', scenes: 9 },
    ];
    const scenes = { questions: 5, conversations: 0, several: 0, attention: 0 };
    const report = await measure(options('more', { entries, scenes }));
    expect(report.entries.map(({ questions }) => questions.questions)).toEqual([15, 15, 27]);
    expect(report.entries[1]?.questions).toEqual(entry('q4')?.questions);
  });

  it('refuses pictures that a profile was fitted on, and a codec that its profile is not of', async () => {
    await expect(measure(options('fit', { seed: 1001 }))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('shares pictures') as string,
    });
    const mistaken: Entry = { name: 'mistaken', codec: 'capsule-q4', profile: PROFILE, group: 'ours' };
    await expect(measure(options('mistaken', { entries: [...ENTRIES, mistaken] }))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('codec capsule') as string,
    });
  });
});
