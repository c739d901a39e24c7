import type { ContentOwner } from '../eviction/index.js';
import type { ContentName, NamedPrompt, SpanForm } from '../identity/index.js';

/** The format that a span is stored in, and the pages that it takes there. */
export interface StoredSpan {
  /** Place in the worker's list of formats. */
  readonly format: number;
  readonly pages: number;
}

/** How text is kept in a format: every run of `tokens` tokens of a text segment, once it is full. */
export interface TextForm {
  readonly stored: StoredSpan;
  /** Whole blocks. */
  readonly tokens: number;
  readonly form: SpanForm;
}

/** A picture's span of a prompt as the scheduler sees it. */
export interface ScheduledPicture {
  /** First token of the span, markers included. */
  readonly offset: number;
  readonly length: number;
  /** Rows of the span that its format does not cover (its markers), ascending. */
  readonly restRows: readonly number[];
  /** The format that fits the covered rows; `undefined`: the span stays raw. */
  readonly stored: StoredSpan | undefined;
  /** What its name is made of; needed where the request names its content. */
  readonly content?: SpanForm & { readonly contentSha256: Uint8Array };
  /**
   * What a span that is raw, or stored as rows (q8, q4), may become when pages run out while the request
   * runs; absent: it stays what it is, as in a request that names its codec.
   */
  readonly underPressure?: {
    readonly stored: StoredSpan;
    readonly restRows: readonly number[];
    readonly form: SpanForm;
  };
}

export interface ScheduledRequest {
  readonly id: string;
  readonly promptTokens: number;
  /** Length of its answer at most, so that nothing is planned behind its last token; no bound when absent. */
  readonly maxTokens?: number;
  /** Tokens of its answer that are drawn already, fewer than `maxTokens`: they are computed with the prompt; 0 when absent. */
  readonly answered?: number;
  /** Lower ones go first, as in vLLM; 0 when absent. */
  readonly priority?: number;
  /** Ascending, without overlap. */
  readonly pictures: readonly ScheduledPicture[];
  /** How its text is kept; absent: raw. */
  readonly text?: TextForm;
  /** What raw text may become when pages run out while the request runs; absent: it stays raw. */
  readonly textUnderPressure?: TextForm;
  /** What its keys and values are named by; absent: nothing is taken from the prefix cache or left in it. */
  readonly content?: {
    readonly root: ContentName;
    readonly tokenIds: readonly number[];
    /** Whose its content in the cache counts as; one without a name when absent. */
    readonly owner?: ContentOwner;
    /** Made by `namePrompt`, so that all who ask for them share them; else each makes its own. */
    readonly names?: NamedPrompt;
  };
}

/** Changes of the page tables, applied in order before the step's forward pass. */
export type PageChange =
  | { readonly kind: 'open'; readonly slot: number }
  | { readonly kind: 'close'; readonly slot: number }
  | { readonly kind: 'segment'; readonly slot: number }
  | {
      readonly kind: 'blocks';
      readonly slot: number;
      readonly segment: number;
      readonly blocks: readonly number[];
    }
  | {
      readonly kind: 'compress';
      readonly slot: number;
      readonly segment: number;
      readonly format: number;
      readonly pages: readonly number[];
      readonly blocks: readonly number[];
      readonly restRows: readonly number[];
    }
  | {
      readonly kind: 'attachBlocks';
      readonly slot: number;
      readonly segment: number;
      readonly tokens: number;
      readonly blocks: readonly number[];
    }
  | {
      readonly kind: 'attachStored';
      readonly slot: number;
      readonly format: number;
      readonly tokens: number;
      readonly pages: readonly number[];
    }
  | {
      /** Cuts a raw segment in two; the first one keeps `tokens` tokens, whole blocks. */
      readonly kind: 'split';
      readonly slot: number;
      readonly segment: number;
      readonly tokens: number;
    }
  | { readonly kind: 'copyBlock'; readonly from: number; readonly to: number };

/** Consecutive tokens `[start, start + rows)` of one sequence, all in one segment. */
export interface StepChunk {
  readonly id: string;
  readonly slot: number;
  readonly segment: number;
  readonly start: number;
  readonly rows: number;
  /** Index of the picture whose span this is, if it is one. */
  readonly picture: number | undefined;
}

export interface StepSample {
  readonly id: string;
  /** Row of the step, counted over all chunks in their order. */
  readonly row: number;
}

/** All pages of one sequence in the order of its segments. */
export interface PageMove {
  readonly id: string;
  readonly pages: readonly number[];
}

export type Recompression =
  | { readonly id: string; readonly picture: number }
  | { readonly id: string; readonly picture: undefined; readonly start: number };

/** One step's work for all sequences, in counts; the packer of the engine's plan adds the token ids. */
export interface ScheduledStep {
  readonly number: number;
  /** Pages to be read and kept by the request's id, before everything else: they are given away in this step. */
  readonly reads: readonly PageMove[];
  /** Pages that get the bytes kept for the request, after the reads and before the changes. */
  readonly writes: readonly PageMove[];
  /** To be applied also when there are no rows. */
  readonly changes: readonly PageChange[];
  readonly chunks: readonly StepChunk[];
  readonly samples: readonly StepSample[];
  readonly rows: number;
  /** Every slot that this step touches. */
  readonly slots: readonly number[];
  /** Pictures, and runs of text by their first token, that took their form under pressure, and keep it from here on. */
  readonly recompressed: readonly Recompression[];
  /** Requests that lost their pages and are computed again later. */
  readonly preempted: readonly string[];
  /** Requests that wait for the features of their pictures until `ready` is called for them. */
  readonly missing: readonly string[];
  /** Requests that need more blocks than the pool has; they are out of the scheduler already. */
  readonly exhausted: readonly string[];
}
