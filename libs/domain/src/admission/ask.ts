/** Requests with equal keys share a line. */
export interface AdmissionKey {
  readonly modelId: string;
  readonly tenant: string;
}

/** What a request says of itself when it enters. Times are ms of one monotonic clock. */
export interface Ask extends AdmissionKey {
  /** What serving it is expected to cost, as `workOf` counts. */
  readonly work: number;
  /** It was let in before, and its worker failed: its work is not charged again. */
  readonly isCharged: boolean;
  /** Lower ones go first among the requests of their tenant. */
  readonly priority: number;
  /** Memory that it takes while it waits. */
  readonly bytes: number;
  /** KV pages that count towards its tenant's cap from its try on; 0 where there is no cap. */
  readonly pages: number;
  readonly arrivedMs: number;
  readonly deadlineMs: number;
}

export interface AdmissionLimits {
  /** Requests of one model that may wait. */
  readonly entriesPerModel: number;
  /** Bytes of all requests that wait. */
  readonly bytes: number;
  /** The longest that one may wait. */
  readonly waitMs: number;
}

/**
 * Refused before it waited: the queue is full and others have more right to it; the requests before it will take longer
 * than it may wait, or than it has; or its time is up.
 */
export type Rejection = 'full' | 'wait-too-long' | 'deadline-too-near' | 'deadline';

export interface Refusal {
  readonly cause: Rejection;
  /** After so long there should be room in the queue, by how fast it moves. */
  readonly retryAfterMs: number;
}

/** Removed after it waited: for as long as anybody may, until its own time was up, or to make room for another. */
export type Eviction = 'waited' | 'deadline' | 'shed';

export interface Evicted {
  readonly id: number;
  readonly cause: Eviction;
  readonly retryAfterMs: number;
}

/** How an entry went: it waits, unless it was refused, and others may have had to leave for it. */
export interface Entrance {
  readonly refusal?: Refusal;
  readonly shed: readonly Evicted[];
}
