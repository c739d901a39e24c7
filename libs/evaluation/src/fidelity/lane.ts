import { mkdtemp, readFile, rm, symlink, writeFile, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { openEngine, type Engine, type WeightType } from '@kvcapsule/engine';
import { openPromptMaker, type PromptMaker } from '../prompts/prompt-maker.js';
import { SpanRunner } from './span-runner.js';

export const WEIGHTS = 'f32';
export const KV_DTYPE = 'f16';
/** 200 MB of the demo model's geometry, touched only as far as it is used. */
const POOL_BLOCKS = 4096;
const STEP_TOKENS = 8192;
const MAX_SLOTS = 512;

/** An engine with what asks it, for pictures of one size. */
export interface Asker {
  readonly engine: Engine;
  readonly prompts: PromptMaker;
  readonly runner: SpanRunner;
}

/** Everything one thread needs to measure on its own. */
export interface Lane {
  readonly base: Asker;
  /** By longest edge; the same model with pictures scaled down first. */
  readonly scaled: ReadonlyMap<number, Asker>;
  /** By type of their weights; the same model and pictures. */
  readonly weighed: ReadonlyMap<WeightType, Asker>;
}

const PROCESSOR_FILES = ['preprocessor_config.json', 'processor_config.json'];

function withEdge(json: unknown, longestEdge: number): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json;
  return Object.fromEntries(
    Object.entries(json).map(([key, value]) =>
      key === 'size' ? [key, { longest_edge: longestEdge }] : [key, withEdge(value, longestEdge)],
    ),
  );
}

/** The same model folder but for the size that pictures are scaled to. */
async function scaledModel(modelDir: string, longestEdge: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kvcapsule-eval-'));
  const names = await readdir(modelDir);
  for (const name of names) {
    if (!PROCESSOR_FILES.includes(name)) await symlink(resolve(modelDir, name), join(folder, name));
  }
  // a folder may have either file or both
  for (const name of PROCESSOR_FILES.filter((file) => names.includes(file))) {
    const json: unknown = JSON.parse(await readFile(join(modelDir, name), 'utf8'));
    await writeFile(join(folder, name), JSON.stringify(withEdge(json, longestEdge)));
  }
  return folder;
}

async function openAsker(modelDir: string, weights: WeightType, profiles: readonly string[]): Promise<Asker> {
  const prompts = await openPromptMaker(modelDir);
  try {
    const engine = await openEngine({
      modelDir,
      weights,
      kvDtype: KV_DTYPE,
      threads: 1,
      poolBlocks: POOL_BLOCKS,
      maxSlots: MAX_SLOTS,
      maxStepTokens: STEP_TOKENS,
      profiles,
    });
    return { engine, prompts, runner: new SpanRunner(engine, POOL_BLOCKS) };
  } catch (error) {
    await prompts.dispose();
    throw error;
  }
}

/**
 * One lane of one thread for each of `count` threads: the steps are small, and engines that never wait for
 * each other use the cores better than one engine whose threads meet after every operation.
 */
export async function openLanes(
  modelDir: string,
  count: number,
  profiles: readonly string[],
  longestEdges: readonly number[],
  weightTypes: readonly WeightType[],
): Promise<Lane[]> {
  const folders = new Map<number, string>();
  const lanes: Lane[] = [];
  try {
    for (const edge of longestEdges) folders.set(edge, await scaledModel(modelDir, edge));
    for (let lane = 0; lane < count; lane++) {
      const scaled = new Map<number, Asker>();
      const weighed = new Map<WeightType, Asker>();
      lanes.push({ base: await openAsker(modelDir, WEIGHTS, profiles), scaled, weighed });
      for (const [edge, folder] of folders) scaled.set(edge, await openAsker(folder, WEIGHTS, []));
      for (const weights of weightTypes) weighed.set(weights, await openAsker(modelDir, weights, []));
    }
    return lanes;
  } catch (error) {
    await closeLanes(lanes);
    throw error;
  } finally {
    for (const folder of folders.values()) await rm(folder, { recursive: true });
  }
}

export async function closeLanes(lanes: readonly Lane[]): Promise<void> {
  const askers = lanes.flatMap(({ base, scaled, weighed }) => [
    base,
    ...scaled.values(),
    ...weighed.values(),
  ]);
  for (const { engine, prompts } of askers) {
    await engine.dispose();
    await prompts.dispose();
  }
}
