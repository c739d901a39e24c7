/** The pages that a router reserved in the ledger for a request. */
export interface Lease {
  readonly leaseId: string;
  readonly epoch: bigint;
  readonly pages: number;
  /** The ledger did not answer: nothing is reserved there. */
  readonly provisional?: boolean | undefined;
}

/** What is to be written to the ledger. Writes of one id go out one after the other. */
export type LeaseEffect =
  /** Answered by `leaseAccepted`. */
  | { readonly kind: 'acceptLease'; readonly id: string; readonly lease: Lease }
  /** Answered by `leaseResized`. */
  | { readonly kind: 'resizeLease'; readonly id: string; readonly pages: number }
  | { readonly kind: 'releaseLease'; readonly id: string }
  /** Gives back one that was never taken over. */
  | { readonly kind: 'declineLease'; readonly leaseId: string };

/** `unknown`: the lease is held no more. */
export type ResizeAnswer = 'set' | 'refused' | 'unknown';
