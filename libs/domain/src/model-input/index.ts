import type { PageChange } from '../scheduling/index.js';

/** In a chunk's tokens: what the step before draws for this sequence and index, whatever that will be. */
export const DRAWN_BEFORE = -1;

/** Consecutive rows of one sequence, all in one segment. */
export interface InputChunk {
  readonly slot: number;
  readonly segment: number;
  /** Place of the first row among its sequence's tokens: what the randomness of draws depends on. */
  readonly firstIndex: number;
  /** Rotary position of the first row; the others follow it. */
  readonly firstPosition: number;
  /** Token ids, or {@link DRAWN_BEFORE}. */
  readonly tokens: ArrayLike<number>;
  /** Features that stand in the place of token embeddings; absent: none. */
  readonly features?: {
    readonly handle: number;
    /** Per row of the chunk: a row of the features, or -1 where the token's own embedding counts. */
    readonly rows: ArrayLike<number>;
  };
}

/** Added to logits; tokens ascend, `-Infinity` forbids one. */
export interface LogitBias {
  readonly tokens: Int32Array;
  readonly values: Float32Array;
}

/** Penalties of one draw and what they count. */
export interface InputPenalties {
  readonly presence: number;
  readonly frequency: number;
  /** 1 = off. */
  readonly repetition: number;
  /** Each token once. */
  readonly tokens: Int32Array;
  /** How often each occurred in the answer; 0: in the prompt alone. */
  readonly counts: Int32Array;
}

/** A token that is drawn after one row. */
export interface InputSample {
  /** Counted over all chunks in their order. */
  readonly row: number;
  /** 0 = greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off, as for `minP`. */
  readonly topK: number;
  readonly minP: number;
  readonly seed: bigint;
  /** So many of the likeliest tokens are wanted with the drawn one's log-probability; absent: none of it. */
  readonly topLogprobs?: number | undefined;
  readonly penalties?: InputPenalties | undefined;
  readonly bias?: LogitBias | undefined;
}

/** What an engine is asked to do in one step: changes of its page tables, then rows, then draws. */
export interface ModelInput {
  readonly changes: readonly PageChange[];
  readonly chunks: readonly InputChunk[];
  /** Their rows ascend. */
  readonly samples: readonly InputSample[];
}

/** A draw that takes the likeliest token. */
export function greedySample(row: number): InputSample {
  return { row, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };
}
