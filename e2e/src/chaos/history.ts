/** One lease as the store held it. */
export interface SampledLease {
  readonly id: string;
  readonly pages: number;
}

/** What happened while faults came, in the order of `atMs`, of one monotonic clock. */
export type Happening =
  /** A client sends a request of this script. */
  | { readonly kind: 'asked'; readonly atMs: number; readonly request: number; readonly script: string }
  /** It gets a piece of its answer. */
  | { readonly kind: 'text'; readonly atMs: number; readonly request: number; readonly text: string }
  | { readonly kind: 'ended'; readonly atMs: number; readonly request: number; readonly end: End }
  /** All of one worker's keys in one instant. */
  | {
      readonly kind: 'ledger';
      readonly atMs: number;
      readonly workerId: string;
      readonly epoch: number;
      /** The process that holds the epoch. */
      readonly holder: string;
      readonly capacityPages: number;
      readonly leases: readonly SampledLease[];
    }
  /**
   * The store loses everything between the two: what it holds from then on is another history of epochs, and samples
   * meanwhile are of either.
   */
  | { readonly kind: 'emptying' | 'emptied'; readonly atMs: number }
  /** What was done to whom; for people. */
  | { readonly kind: 'fault'; readonly atMs: number; readonly what: string };

/** How a request ended for its client. */
export type End =
  /** Whole, as the server says. */
  | { readonly how: 'finished'; readonly reason: string; readonly completionTokens: number }
  /** With the server's error, before or within the answer. */
  | { readonly how: 'refused'; readonly code: string }
  /** Its connection broke as its router was killed. */
  | { readonly how: 'cut' }
  /** Not at all: its connection broke although its router lives, or nothing came for longer than anything takes. */
  | { readonly how: 'lost'; readonly why: string };

/** What a script's answer is where nothing goes wrong. */
export interface Expected {
  readonly text: string;
  readonly reason: string;
  readonly completionTokens: number;
}
