/**
 * The addon's whole surface. Nothing else loads the `.node` file. Every call that computes is asynchronous
 * and runs on the engine's own thread; arrays are copied or pinned before the call returns.
 */

import type { ModelSpecification } from '@kvcapsule/model/folder';
import type { NativeCalibration } from './native-calibration.js';

export type NativeDtype = 'f32' | 'f16' | 'bf16';

/** As {@link NativeDtype}, and blocks of 32 weights as in llama.cpp: 8.5 and 5 bits a weight. */
export const WEIGHT_TYPES = ['f32', 'f16', 'bf16', 'q8_0', 'q4_1'] as const;
export type WeightType = (typeof WEIGHT_TYPES)[number];

export interface NativeEngineOptions {
  /** Hugging Face folder; the engine reads its weights alone. */
  readonly modelDir: string;
  readonly model: ModelSpecification;
  /** Of the matrices; with a quantized type the tower's and the connector's are bf16, and with `q4_1` the head `q8_0`. */
  readonly weights: WeightType;
  /** Type of raw rows in the pool. */
  readonly kvDtype: NativeDtype;
  /** 0: as many as the process may run on. */
  readonly threads: number;
  /** Blocks of 16 tokens. */
  readonly poolBlocks: number;
  readonly maxSlots: number;
  /** Rows of one step. */
  readonly maxStepTokens: number;
  /** Profile files, in the order of their formats. */
  readonly profiles: readonly string[];
}

/** Every codec, from most bytes to fewest; `raw` is no format but the absence of one. */
export const CODECS = ['raw', 'q8', 'q4', 'capsule', 'capsule-q8', 'capsule-q4', 'capsule-mixed'] as const;
export type Codec = (typeof CODECS)[number];

/** One way to store a span's rows; its number is its place in {@link NativeEngineInfo.formats}. */
export interface NativeFormatInfo {
  readonly codec: Exclude<Codec, 'raw'>;
  /** Empty for a format without a profile. */
  readonly profileId: string;
  /** Place of its file in {@link NativeEngineOptions.profiles}; -1 without one. A file may hold several formats. */
  readonly profileFile: number;
  /** Rows that one capsule covers; 0: any number. */
  readonly tokens: number;
  /** Rows of the span that are markers and covered, ascending; empty when only visual tokens are. */
  readonly markerRows: Int32Array;
  /** Pages and bytes of one capsule; 0 where `tokens` is 0. */
  readonly pages: number;
  readonly bytes: number;
  /** Where `tokens` is 0, n tokens take `headerBytes + n * bytesPerToken`. */
  readonly bytesPerToken: number;
  readonly headerBytes: number;
  /**
   * Multiply-adds of attention for a query row, as a share of raw rows': the least for the format's form, for a
   * picture like the mean one of its profile.
   */
  readonly macsShare: number;
}

export interface NativeEngineInfo {
  readonly vocab: number;
  readonly contextTokens: number;
  readonly imageTokenId: number;
  readonly tokensPerTile: number;
  /** Bytes of one visual token's features while a picture is kept. */
  readonly featureBytes: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly blockTokens: number;
  readonly pagesPerBlock: number;
  readonly blockBytes: number;
  readonly pageBytes: number;
  readonly weightBytes: number;
  /** q8 and q4, then those of each profile file. */
  readonly formats: readonly NativeFormatInfo[];
}

/** Opcodes of {@link StepPlan.ops}; `native/src/kv/sequence_table.h` documents their arguments. */
export const PageOp = {
  Open: 1,
  Close: 2,
  Segment: 3,
  Blocks: 4,
  Compress: 5,
  AttachBlocks: 6,
  AttachStored: 7,
  CopyBlock: 8,
  Split: 9,
} as const;

/**
 * In {@link StepPlan.tokens}: what the step before drew for this slot and position. So a plan can be made and given
 * to the engine while that step runs.
 */
export const TOKEN_DRAWN_BEFORE = -1;

/** Penalties of the samples that have any; `n` counts those. */
export interface PenaltyArrays {
  /** Indices of samples, ascending. */
  readonly samples: Int32Array;
  /** `[n][3]`: presence, frequency, repetition (1 = off). */
  readonly factors: Float32Array;
  /** `[n + 1]` into `tokens`. */
  readonly offsets: Int32Array;
  /** Tokens that occurred, each once a sample; the engine adds a {@link TOKEN_DRAWN_BEFORE} of the sample's row. */
  readonly tokens: Int32Array;
  /** How often each occurred in the answer; 0: in the prompt alone. */
  readonly counts: Int32Array;
}

/** What is added to the logits of the samples that ask for it. */
export interface BiasArrays {
  readonly samples: Int32Array;
  readonly offsets: Int32Array;
  /** Ascending in each sample. */
  readonly tokens: Int32Array;
  /** `-Infinity` forbids the token. */
  readonly values: Float32Array;
}

/** Tokens that a sample may draw at all. */
export interface MaskArrays {
  readonly samples: Int32Array;
  /** `[n][ceil(vocab / 32)]`, lowest bit first: 1 allows a token. */
  readonly bits: Uint32Array;
}

/** All sequences' work of one step; `native/include/kvcapsule/engine.h` gives every array's meaning. */
export interface StepPlan {
  /** Stream of `opcode, slot, argument count, arguments`, applied in order before the forward pass. */
  readonly ops: Int32Array;
  /** `[slot, segment, rows]` each. */
  readonly chunks: Int32Array;
  /** Per row: token ids, or {@link TOKEN_DRAWN_BEFORE}. */
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  /** Per row: -1, or the handle of the picture whose features replace the token's embedding. */
  readonly imageHandles: Int32Array;
  readonly imageRows: Int32Array;
  /** Rows whose next token is wanted, ascending. */
  readonly samples: Int32Array;
  /** Per sample. */
  readonly temperature: Float32Array;
  readonly topP: Float32Array;
  readonly topK: Int32Array;
  readonly seed: BigUint64Array;
  /** Least probability as a share of the likeliest token's, 0 = off: per sample. */
  readonly minP?: Float32Array;
  /** How many of the likeliest tokens are wanted with the sampled one's log-probability, 0 to 20; -1: none of it. */
  readonly topLogprobs?: Int32Array;
  readonly penalties?: PenaltyArrays;
  readonly bias?: BiasArrays;
  readonly masks?: MaskArrays;
  readonly returnLogits?: boolean;
  /** Evaluation: the queries of the sampled rows are wanted. */
  readonly returnQueries?: boolean;
}

export interface StepResult {
  /** Per sample. */
  readonly tokens: Int32Array;
  /**
   * Of the raw distribution, before bias, penalties and truncation; never below -9999. Empty without
   * `topLogprobs`; 0 for a sample that wants none.
   */
  readonly logprobs: Float32Array;
  /** The likeliest tokens of the samples that want them, one after the other, likeliest first. */
  readonly topTokens: Int32Array;
  readonly topLogprobs: Float32Array;
  /** `[samples][vocab]` when asked for. */
  readonly logits?: Float32Array;
  /** `[layers][samples][heads][headDim]`, rotated to their positions, when asked for. */
  readonly queries?: Float32Array;
  readonly compressSeconds: number;
  readonly forwardSeconds: number;
}

export interface EncodedImage {
  readonly handle: number;
  /** Visual tokens, markers not counted. */
  readonly tokens: number;
  /** Grid of tiles; 0 x 0 when the picture is one tile, not split. */
  readonly rows: number;
  readonly cols: number;
}

/** What is seen and said of one picture while it is computed. */
export interface ImageWatch {
  /** Of its layers that are computed, 0 to 1. */
  share(): number;
  /** Its call rejects with `ABORTED` before the next slice, where it has not settled by then. */
  cancel(): void;
}

/** One engine. Rejections carry `code` of the error catalogue. */
export interface NativeEngine {
  readonly info: NativeEngineInfo;
  /**
   * Upright 8-bit RGB, `[height][width][3]`; not to be written to or transferred until the call settles. Computed
   * in slices between the steps, several pictures together.
   */
  encodeImage(rgb: Uint8Array, width: number, height: number, watch?: ImageWatch): Promise<EncodedImage>;
  /** To be given to `encodeImage` once. */
  watchImage(): ImageWatch;
  releaseImage(handle: number): Promise<void>;
  step(plan: StepPlan): Promise<StepResult>;
  /**
   * Bytes of whole pages in the order named, to keep a sequence elsewhere for a while. Runs after the steps that
   * were submitted before, and before those submitted later.
   */
  readPages(pages: Int32Array): Promise<Uint8Array>;
  /** Puts such bytes into pages, each named once. Nothing is written when pages or length are wrong. */
  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void>;
  /**
   * Evaluation: a segment's rows as attention sees them, `[layers][keys, values][kvHeads][tokens][headDim]`; of a
   * capsule, reconstructed.
   */
  readRows(slot: number, segment: number): Promise<Float32Array>;
  readonly calibration: NativeCalibration;
  /** Refuses new work, waits for work in flight, then frees everything. Idempotent. */
  dispose(): Promise<void>;
}

/** What an engine's memory depends on, but for the size of its pool. */
export interface MemoryOptions extends Pick<
  NativeEngineOptions,
  'model' | 'weights' | 'kvDtype' | 'threads' | 'maxSlots' | 'maxStepTokens' | 'profiles'
> {
  /** Of the pictures that may be encoded at once. */
  readonly tiles: number;
}

/** Bytes of an engine in which everything is full. */
export interface MemoryNeed {
  readonly weights: number;
  /** Each of the pool's blocks. */
  readonly block: number;
  /** Of the largest step or of the largest slice of pictures. */
  readonly workspace: number;
  /** What each thread computes in, and tables that all read. */
  readonly threads: number;
  /** Pixels and features of the pictures that are encoded at once. */
  readonly tiles: number;
  /** Bases and templates, as encoding, decoding and attention read them. */
  readonly profiles: number;
}

export interface MachineRoof {
  readonly readBytesPerSecond: number;
  /** Two operations for each multiply-add. */
  readonly flopsPerSecond: number;
}

/** Instruction sets that kernels are chosen by; each has what those before it have. */
export const CPU_ISAS = ['sse4', 'avx2', 'avx512', 'amx'] as const;
export type CpuIsa = (typeof CPU_ISAS)[number];

/** What runs here. */
export interface BuildInfo {
  /** Of the addon. */
  readonly version: string;
  readonly ggml: string;
  /** The best that this machine has within the limit of {@link NativeBinding.limitIsa}. */
  readonly isa: CpuIsa;
  /** The one that kernels are chosen for, as Highway names it: `sse4`, `avx2`, `avx3` (AVX-512). */
  readonly instructionSet: string;
  /**
   * Backend, instruction set and kernel revision: `cpu-avx2-1`, or `cpu-avx3_dl+amx-1` where bf16 weights are
   * multiplied on tiles of AMX. Two machines with one name and one build compute the same bits;
   * `native/src/backend/arithmetic.h` says when the revision is raised.
   */
  readonly arithmetic: string;
}

/** What the addon exports. */
export interface NativeBinding {
  createEngine(options: NativeEngineOptions): Promise<NativeEngine>;
  /** Reads the profiles and no other file, and keeps nothing. Throws what `createEngine` would reject with. */
  describeMemory(options: MemoryOptions): MemoryNeed;
  buildInfo(): BuildInfo;
  /**
   * From here on kernels of this process use nothing beyond `most`; `amx` is no limit. Before there is an engine.
   * Throws CONFIG_INVALID, naming the values, where it is none of them.
   */
  limitIsa(most: CpuIsa): void;
  /**
   * What the machine can do at most: a stream of loads over `bytes` of memory, and fused multiply-adds. Blocks the
   * event loop for about a second.
   */
  measureRoof(threads: number, bytes: number): MachineRoof;
}
