/** What the cluster promises its users over 30 days. Bounds are bounds of the histograms' buckets; a test compares them. */
export const OBJECTIVES = {
  /** Requests that end without a fault of ours. */
  answered: { share: 0.995 },
  /** Requests whose first token comes in time. */
  firstToken: { share: 0.95, withinSeconds: 2.5 },
  /** Gaps between two tokens that are short enough to read along. */
  nextToken: { share: 0.99, withinSeconds: 0.25 },
} as const;

/** Faults of ours: answers of 500 and more, and streams that broke, whose status had left as 200. */
export const FAULTS = 'kvcapsule_router_requests_total{status=~"5..|200",code!~"ok|aborted|client_too_slow"}';
/** Requests that count: what clients got wrong, and those they gave up, say nothing about us. */
export const COUNTED = 'kvcapsule_router_requests_total{status=~"5..|200",code!~"aborted|client_too_slow"}';
