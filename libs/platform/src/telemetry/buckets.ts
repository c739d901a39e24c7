/** Whole requests: from a cached answer to a long one on two cores. */
export const REQUEST_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
/** One step of the engine and what lasts about as long. */
export const STEP_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
/** From a place that is there at once, which costs a round trip to Redis, to the longest wait. */
export const QUEUE_BUCKETS = [0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30];
/** What takes the engine milliseconds with a small model and half a minute at real size on a few cores. */
export const ENGINE_BUCKETS = STEP_BUCKETS.concat([5, 10, 30, 60, 120]);
/** Round trips to a Redis that is near, up to the longest that a request waits for one. */
export const STORE_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];
/** Tokens of prompts and answers. */
export const TOKEN_BUCKETS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000,
];
/** Tokens of one step, to twice its usual limit. */
export const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];
