import { type ModelSpecification, readSpecification } from '@kvcapsule/model/folder';
import { loadBinding } from './binding.js';
import { Calibration } from './calibration.js';
import { DisposeGuard } from './dispose-guard.js';
import { modelRevision, revisionFiles } from './model-revision.js';
import { asEngineError } from './native-errors.js';
import type {
  EncodedImage,
  ImageWatch,
  MemoryNeed,
  MemoryOptions,
  NativeBinding,
  NativeEngine,
  NativeEngineInfo,
  NativeEngineOptions,
  StepPlan,
  StepResult,
} from './native.js';
import { discoverProfiles, verifyProfile, type ProfileDescription } from './profiles/index.js';

export interface EngineOptions extends Omit<NativeEngineOptions, 'model' | 'profiles'> {
  /** Profile files in the order of their formats; those beside the model when absent. */
  readonly profiles?: readonly string[];
  /** Loaded from the build's place when absent. */
  readonly binding?: NativeBinding;
}

/**
 * One native engine with the identity of what it serves. Calls reject with KvcError only. After
 * {@link Engine.dispose} has been called they reject with DRAINING, and what was in flight ends first.
 */
export class Engine implements NativeEngine {
  readonly info: NativeEngineInfo;
  readonly calibration: Calibration;
  readonly #native: NativeEngine;
  readonly #guard = new DisposeGuard();

  constructor(
    native: NativeEngine,
    /** SHA-256 in hex over config and weights. */
    readonly modelRevision: string,
    /** What it computes with. */
    readonly specification: ModelSpecification,
    /** In the order that formats' `profileFile` counts in. */
    readonly profiles: readonly ProfileDescription[],
    /** Backend, instruction set and kernel revision, such as `cpu-avx2-1`: equal names compute equal bits. */
    readonly arithmetic: string,
  ) {
    this.#native = native;
    this.info = native.info;
    this.calibration = new Calibration(native.calibration, (call) => this.#call(call));
  }

  /** @param rgb upright 8-bit RGB, `[height][width][3]` */
  encodeImage(rgb: Uint8Array, width: number, height: number, watch?: ImageWatch): Promise<EncodedImage> {
    return this.#call(() => this.#native.encodeImage(rgb, width, height, watch));
  }

  watchImage(): ImageWatch {
    return this.#native.watchImage();
  }

  releaseImage(handle: number): Promise<void> {
    return this.#call(() => this.#native.releaseImage(handle));
  }

  step(plan: StepPlan): Promise<StepResult> {
    return this.#call(() => this.#native.step(plan));
  }

  readPages(pages: Int32Array): Promise<Uint8Array> {
    return this.#call(() => this.#native.readPages(pages));
  }

  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void> {
    return this.#call(() => this.#native.writePages(pages, bytes));
  }

  readRows(slot: number, segment: number): Promise<Float32Array> {
    return this.#call(() => this.#native.readRows(slot, segment));
  }

  dispose(): Promise<void> {
    return this.#guard.dispose(() => this.#native.dispose());
  }

  async #call<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await this.#guard.run(call);
    } catch (error) {
      throw asEngineError(error);
    }
  }
}

/**
 * What an engine with such options will take; no weights are loaded.
 *
 * @throws KvcError MODEL_INVALID, PROFILE_INVALID or CONFIG_INVALID
 */
export async function describeMemory(options: MemoryOptions): Promise<MemoryNeed> {
  const binding = await loadBinding();
  try {
    return binding.describeMemory(options);
  } catch (error) {
    throw asEngineError(error);
  }
}

/**
 * Loads a model folder and its profiles into a new engine.
 *
 * @throws KvcError MODEL_INVALID, PROFILE_INVALID or CONFIG_INVALID, each naming what is wrong
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { binding: given, profiles: named, ...rest } = options;
  const { modelDir } = options;
  await revisionFiles(modelDir);
  const model = await readSpecification(modelDir);
  const paths = named ?? (await discoverProfiles(modelDir));
  const binding = given ?? (await loadBinding());
  // the hash over the weights takes as long as loading them
  const [identified, created] = await Promise.allSettled([
    identify(modelDir, model, paths),
    binding.createEngine({ ...rest, model, profiles: paths }),
  ]);
  if (identified.status === 'rejected') {
    if (created.status === 'fulfilled') await created.value.dispose();
    throw identified.reason;
  }
  if (created.status === 'rejected') throw asEngineError(created.reason);
  const { revision, profiles } = identified.value;
  return new Engine(created.value, revision, model, profiles, binding.buildInfo().arithmetic);
}

/** Names the model's contents and checks that the profiles are of it. */
async function identify(
  modelDir: string,
  { text: { layers, kvHeads, headDim } }: ModelSpecification,
  paths: readonly string[],
): Promise<{ revision: string; profiles: ProfileDescription[] }> {
  const revision = await modelRevision(modelDir);
  const expectation = { modelRevision: revision, layers, kvHeads, headDim };
  return { revision, profiles: await Promise.all(paths.map((path) => verifyProfile(path, expectation))) };
}
