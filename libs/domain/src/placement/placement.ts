import type { WorkerRecord } from '../registry/index.js';
import type { StorageClass } from './storage-class.js';
import type { SystemFingerprint } from './system-fingerprint.js';

/** Whether a worker answers: `reconnecting` for a moment after its connection was lost. */
export type Reach = 'open' | 'reconnecting' | 'unreachable';

/** A worker as one router sees it: its last heartbeat and what this router has done there since. */
export interface WorkerView {
  readonly record: WorkerRecord;
  readonly storageClass: StorageClass;
  readonly reach: Reach;
  /** Whether the newest list of the registry has it. */
  readonly isListed: boolean;
  /** It has failed requests again and again, and for a while none is sent there. */
  readonly isLeftAlone: boolean;
  /** Pages that this router reserved for them. */
  readonly ownPages: number;
  /** Pages of its requests that ended so recently that the heartbeat may not show it. */
  readonly freedPages: number;
  /**
   * Pages that are free there as far as this router knows: what its own requests took and gave back counts at once, what
   * those of others did with the next heartbeat.
   */
  readonly roomPages: number;
  /**
   * Requests that are there as far as this router knows: its own at once, those of others with the next heartbeat.
   */
  readonly requests: number;
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
  /** Tokens from the prompt's beginning that will lie there when what it computes for others is done. */
  readonly prefixComing?: number;
  /** Of the pictures that do not lie there in any form, those that it computes for others. */
  readonly picturesComing?: number;
}

/** Undefined where nothing is known of that worker. */
export type Holdings = (worker: WorkerView) => HeldContent | undefined;

/** What a worker's caches hold of whatever prompts, as far as a router has heard. */
export interface WorkerCache {
  /** Pages of its pool with content that has a name, in use or not. */
  readonly pages: number;
  /** Tokens of that content which no other worker holds. */
  readonly lastCopyTokens: number;
}

export interface PlacementRequest {
  readonly modelId: string;
  /** Of the tokenizer, template and picture settings that made the prompt's token ids. */
  readonly processorRevision: string;
  /** The codec that the request names; undefined leaves it to the worker. */
  readonly kvCodec?: string | undefined;
  /** Processes that failed this request, by their `processOf`. */
  readonly failed: ReadonlySet<string>;
  readonly promptTokens: number;
  readonly pictures: number;
  /** Of the prompt's tokens those that are rows of pictures. */
  readonly pictureTokens: number;
  /** About how many the answer will have. */
  readonly answerTokens: number;
  /** The same for requests that are likely to begin alike; undefined where nothing says so. */
  readonly session?: string | undefined;
  /** What another worker has begun or kept goes on only on one that computes as it does. */
  readonly prefers?: { readonly arithmetic?: string; readonly precision?: string } | undefined;
  /** Workers that would not go on with its answer bit for bit are left out; undefined: any will do. */
  readonly fingerprint?: SystemFingerprint | undefined;
  /** Workers that are left alone may be asked, since nobody else is there. */
  readonly ignoresBreakers?: boolean | undefined;
  /** Tokens of its answer are there already: it waits behind nobody. */
  readonly hasBegun?: boolean | undefined;
  /** Its tenant has no other request that was let in: workers take one more for it. */
  readonly isGuest?: boolean | undefined;
  /** Pages the request needs at its peak on that worker: its codec and geometry decide. */
  pagesOn(worker: WorkerView): number;
  /** What workers hold of the prompt at this moment, looked up once a decision. */
  holdings?(): Holdings;
  /** What that worker's caches hold; undefined where nothing is known of it. */
  cacheOf?(worker: WorkerView): WorkerCache | undefined;
}

/** One life of a worker: another process that comes back under its id has not failed what that one has. */
export function processOf({ workerId, epoch }: WorkerRecord): string {
  return `${workerId}@${epoch}`;
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

/**
 * Writes what a worker costs a request, in tokens of prefill, 0 or more, to that place, which holds NaN, and leaves that
 * where it cannot be told. A number that is returned lies on the heap: 40 KB a request of a thousand workers.
 */
export type Cost = (
  worker: WorkerView,
  held: HeldContent | undefined,
  costs: Float64Array,
  at: number,
) => void;

/** Pure: one part of what a request costs. */
export interface Scorer {
  readonly name: string;
  /** For one request over the workers that may take it; undefined where it makes no difference between them. */
  over(request: PlacementRequest, candidates: readonly WorkerView[]): Cost | undefined;
}

/** How much a scorer counts; with 1 a token is a token. */
export interface WeightedScorer {
  readonly scorer: Scorer;
  readonly weight: number;
}

/** Chooses by what each candidate costs in total. */
export interface Picker {
  /** At most `count` indices, in the order in which they are to be tried. `random` gives numbers in [0, 1). */
  pick(totals: Float64Array, count: number, random: () => number): number[];
}

/** How a request's worker is chosen. */
export interface Policy {
  readonly name: string;
  /** In this order; the first that does not admit a worker is why it is left out. */
  readonly filters: readonly Filter[];
  readonly scorers: readonly WeightedScorer[];
  readonly picker: Picker;
}

/** Why that worker and no other: the scorer by which it was better than the others on average, or one of these. */
export type PickReason = 'only' | 'even' | (string & {});

/** A worker that was chosen. */
export interface Pick {
  readonly worker: WorkerView;
  readonly held: HeldContent | undefined;
  /** What it costs by scorer, weighted, in tokens; scorers that could not tell are left out. */
  readonly costs: Readonly<Record<string, number>>;
  readonly total: number;
  readonly reason: PickReason;
}

/** Workers that are left out, by the filter that did it. */
export type Rejections = ReadonlyMap<Filter, readonly WorkerView[]>;

/** Where a request may go, and why not elsewhere. */
export interface Decision {
  /** Workers to try, in this order. */
  readonly picks: readonly Pick[];
  /** Every worker that passed the filters, in the order of the snapshot. */
  readonly candidates: readonly WorkerView[];
  readonly rejected: Rejections;
}
