import { basename } from 'node:path';
import {
  describeMemory,
  discoverProfiles,
  type MemoryNeed,
  modelRevision,
  storedDtype,
  verifyProfile,
} from '@kvcapsule/engine';
import { guestSlots } from '@kvcapsule/domain/scheduling';
import { type ModelFolder, openModelFolder } from '@kvcapsule/model';
import { PARALLEL_PICTURES } from '@kvcapsule/serving';
import { type Finding, group, told } from './finding.js';

const MIB = 2 ** 20;
/** A worker's, where nothing else is set. */
const MAX_RUNNING = 64;
const DEFAULTS = {
  ...({ kvDtype: 'f16', threads: 0, maxStepTokens: 2048 } as const),
  maxSlots: MAX_RUNNING + guestSlots(MAX_RUNNING),
} as const;

type Dtype = Awaited<ReturnType<typeof storedDtype>>;

/** @param memoryBytes what a worker may use at most */
export async function modelFindings(dir: string, memoryBytes: number): Promise<Finding[]> {
  const { ok, fail } = group(`model ${basename(dir)}`);
  let folder: ModelFolder | undefined;
  try {
    folder = await openModelFolder(dir);
    const dtype = await storedDtype(dir);
    const { family } = folder.specification;
    const files = `${dir}: ${family}, context of ${String(folder.contextTokens)} tokens, ${dtype} weights`;
    const profiles = await profileFindings(folder);
    return [ok('folder', files), ...profiles, await memoryFinding(folder, dtype, memoryBytes)];
  } catch (error) {
    return [fail('folder', told(error)[0], 'docs/guides/models.md says what a model folder holds.')];
  } finally {
    await folder?.dispose();
  }
}

/** Whether each profile is whole and of this model; reads the weights once, for the hash that names them. */
async function profileFindings({ dir, specification }: ModelFolder): Promise<Finding[]> {
  const { ok, warn, fail } = group(`model ${basename(dir)}`);
  const paths = await discoverProfiles(dir);
  const calibrate = `Fit one: ./kvcapsule calibrate --model ${dir}`;
  if (paths.length === 0) return [warn('profile', 'none: pictures are kept raw, or as q8 or q4', calibrate)];
  const { layers, kvHeads, headDim } = specification.text;
  const expected = { modelRevision: await modelRevision(dir), layers, kvHeads, headDim };
  return Promise.all(
    paths.map(async (path) => {
      try {
        const { codec } = await verifyProfile(path, expected);
        return ok('profile', `${basename(path)}: ${codec}`);
      } catch (error) {
        return fail('profile', told(error)[0], calibrate);
      }
    }),
  );
}

async function memoryFinding(folder: ModelFolder, weights: Dtype, memoryBytes: number): Promise<Finding> {
  const { ok, fail } = group(`model ${basename(folder.dir)}`);
  const { specification: model, tokensPerTile } = folder;
  const mostTokens = Math.max(...folder.pictureSpans().map(({ imageTokens }) => imageTokens));
  const tiles = (PARALLEL_PICTURES * mostTokens) / tokensPerTile;
  const need = await describeMemory({ ...DEFAULTS, weights, model, tiles, profiles: [] });
  const found = `${mib(leastBytes(need))} before pool and caches, ${mib(memoryBytes)} may be used`;
  if (leastBytes(need) <= memoryBytes) return ok('memory', found);
  return fail(
    'memory',
    found,
    'Choose smaller weights (--weights q8_0 or q4_1) or a machine with more memory.',
  );
}

const leastBytes = ({ weights, block, workspace, threads, tiles }: MemoryNeed): number =>
  weights + block + workspace + threads + tiles;

const mib = (bytes: number): string => `${String(Math.ceil(bytes / MIB))} MiB`;
