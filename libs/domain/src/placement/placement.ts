import type { WorkerRecord } from '../registry/index.js';
import type { StorageClass } from './storage-class.js';

/** Whether a worker answers: `reconnecting` for a moment after its connection was lost. */
export type Reach = 'open' | 'reconnecting' | 'unreachable';

/** A worker as one router sees it: its last heartbeat and what this router has done there since. */
export interface WorkerView {
  readonly record: WorkerRecord;
  readonly storageClass: StorageClass;
  readonly reach: Reach;
  /** Whether the newest list of the registry has it. */
  readonly isListed: boolean;
  /** Requests of this router that are not answered yet. */
  readonly ownRequests: number;
  /** Pages that this router reserved for them. */
  readonly ownPages: number;
  /** Pages of its requests that ended so recently that the heartbeat may not show it. */
  readonly freedPages: number;
  /** Of this router's requests: those whose first token has not come, and what they have it compute until then. */
  readonly pendingRequests: number;
  /** In tokens of prefill. */
  readonly pendingTokens: number;
  /** How long it takes lately for a token of prefill, by this router's measure; undefined where that is unknown. */
  readonly msPerToken: number | undefined;
}

/** What of one request's prompt a worker already has, as far as a router has heard. */
export interface HeldContent {
  /** Tokens from the prompt's beginning whose KV lies there without a gap, text and pictures. */
  readonly prefixTokens: number;
  /** Of the whole prompt. */
  readonly promptTokens: number;
  /** Pictures whose whole span's KV lies there, at the place where the prompt has it. */
  readonly picturesHeld: number;
  /** Of the other pictures, those whose features lie there: their tower need not run, their rows are prefilled. */
  readonly featuresHeld: number;
  /** Of the whole prompt. */
  readonly pictures: number;
}

export interface PlacementRequest {
  readonly modelId: string;
  /** Of the tokenizer, template and picture settings that made the prompt's token ids. */
  readonly processorRevision: string;
  /** The codec that the request names; undefined leaves it to the worker. */
  readonly kvCodec?: string | undefined;
  /** Workers that failed this request. */
  readonly failed: ReadonlySet<string>;
  /** Pages the request needs at its peak on that worker: its codec and geometry decide. */
  pagesOn(worker: WorkerView): number;
  /** What that worker holds of the prompt; undefined where nothing is known of it. */
  held?(worker: WorkerView): HeldContent | undefined;
}

/** Pure: whether a worker can take the request. */
export interface Filter {
  readonly name: string;
  /** The reason in messages, after a count of workers: "2 not ready". */
  readonly reason: string;
  /** The reason may pass with time: a request waits for such a worker instead of being refused. */
  readonly passes: boolean;
  admits(request: PlacementRequest, worker: WorkerView): boolean;
}

/** Pure: a score in [0, 1], higher is better, undefined when what it needs is not known. */
export interface Scorer {
  readonly name: string;
  score(request: PlacementRequest, worker: WorkerView): number | undefined;
}

/** One worker's scores by scorer, and their mean over the scorers that gave one. */
export interface ScoredWorker {
  readonly worker: WorkerView;
  readonly scores: Readonly<Record<string, number>>;
  readonly total: number;
}

/** Chooses among scored workers. */
export interface Picker {
  readonly name: string;
  /** At most `count` of them, in the order in which they are to be tried. `random` gives numbers in [0, 1). */
  pick(candidates: readonly ScoredWorker[], count: number, random: () => number): ScoredWorker[];
}

export interface Plugins {
  /** In this order; the first that does not admit a worker is why it is left out. */
  readonly filters: readonly Filter[];
  readonly scorers: readonly Scorer[];
  readonly picker: Picker;
}

export interface Rejection {
  readonly worker: WorkerView;
  readonly filter: Filter;
}

/** Where a request may go, and why not elsewhere. */
export interface Decision {
  /** Workers to try, in this order. */
  readonly picks: readonly ScoredWorker[];
  /** Every worker that passed the filters, in the order of the snapshot. */
  readonly scored: readonly ScoredWorker[];
  readonly rejected: readonly Rejection[];
}

/** Filters, scores and picks at most `count` workers. */
export function place(
  request: PlacementRequest,
  workers: readonly WorkerView[],
  { filters, scorers, picker }: Plugins,
  count: number,
  random: () => number,
): Decision {
  const scored: ScoredWorker[] = [];
  const rejected: Rejection[] = [];
  for (const worker of workers) {
    const filter = filters.find((candidate) => !candidate.admits(request, worker));
    if (filter) rejected.push({ worker, filter });
    else scored.push(scoredBy(scorers, request, worker));
  }
  return { picks: picker.pick(scored, count, random), scored, rejected };
}

function scoredBy(scorers: readonly Scorer[], request: PlacementRequest, worker: WorkerView): ScoredWorker {
  const scores: Record<string, number> = {};
  let sum = 0;
  let known = 0;
  for (const scorer of scorers) {
    const score = scorer.score(request, worker);
    if (score === undefined) continue;
    scores[scorer.name] = score;
    sum += score;
    known += 1;
  }
  return { worker, scores, total: sum / Math.max(1, known) };
}
