/** A picture's span of a prompt as the scheduler sees it. */
export interface ScheduledPicture {
  /** First token of the span, markers included. */
  readonly offset: number;
  readonly length: number;
  /** Rows of the span that a capsule does not cover (its markers), ascending. */
  readonly restRows: readonly number[];
  /** The profile that fits the covered rows; `undefined`: the span stays raw. */
  readonly capsule: { readonly profile: number; readonly pages: number } | undefined;
}

export interface ScheduledRequest {
  readonly id: string;
  readonly promptTokens: number;
  /** Lower ones go first, as in vLLM; 0 when absent. */
  readonly priority?: number;
  /** Ascending, without overlap. */
  readonly pictures: readonly ScheduledPicture[];
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
      readonly profile: number;
      readonly pages: readonly number[];
      readonly blocks: readonly number[];
      readonly restRows: readonly number[];
    };

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

/** One step's work for all sequences, in counts; who packs it for an engine adds the token ids. */
export interface ScheduledStep {
  readonly number: number;
  readonly changes: readonly PageChange[];
  readonly chunks: readonly StepChunk[];
  readonly samples: readonly StepSample[];
  readonly rows: number;
  /** Every slot that this step touches. */
  readonly slots: readonly number[];
  /** Requests that lost their pages: they wait again, and not before `ready` is called for them. */
  readonly preempted: readonly string[];
  /** Requests that need more blocks than the pool has; they are out of the scheduler already. */
  readonly exhausted: readonly string[];
}
