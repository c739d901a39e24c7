import type { HeldContent, PlacementRequest, WorkerView } from './placement.js';

/**
 * What the tower takes for a picture's row, in tokens of prefill: measured 2.7 (SmolVLM2-2.2B), 4.3 (SmolVLM-500M) and
 * 13 (SmolVLM-256M, whose decoder is smaller than its tower).
 */
export const TOWER_TOKENS = 4;

/**
 * What one more running request adds to a step, in tokens of prefill: measured 1.6 (SmolVLM-256M) and 1.7 (-500M)
 * from the time of decode steps of 1 and 16 sequences.
 */
export const RUNNING_TOKENS = 1.6;

/** Prompt tokens that a step computes beside running answers: the workers' default. */
const CHUNK_TOKENS = 32;

/** All that a request may have to have computed: its prompt, and its pictures by the tower. */
export function wholeTokens({ promptTokens, pictureTokens }: PlacementRequest): number {
  return promptTokens + TOWER_TOKENS * pictureTokens;
}

/**
 * How much a token counts that is waited for while it is computed for another request: it takes time as any other, but
 * no work that would not be done anyway.
 */
const SHARED_WAIT = 0.5;

/** Prompt tokens that a worker neither holds nor computes for another request. */
export function missingTokens({ promptTokens }: PlacementRequest, held: HeldContent | undefined): number {
  return Math.max(0, promptTokens - Math.max(held?.prefixTokens ?? 0, held?.prefixComing ?? 0));
}

/**
 * What the tower takes for pictures of which a worker has neither KV nor features and computes none for another request;
 * all are taken for equally large.
 */
export function towerTokens(
  { pictures, pictureTokens }: PlacementRequest,
  held: HeldContent | undefined,
): number {
  if (pictures === 0) return 0;
  const known = held ? held.picturesHeld + held.featuresHeld + (held.picturesComing ?? 0) : 0;
  return TOWER_TOKENS * pictureTokens * Math.max(0, 1 - known / pictures);
}

/** A heartbeat may be older than what was sent and given back since. */
export function freePages({ record, freedPages, ownPages }: WorkerView): number {
  return Math.min(record.load.freePages + freedPages, record.capacityPages - ownPages);
}

/**
 * What a worker computes before it begins with this request. Of this router's own requests it is known; those of others
 * that wait are taken to be as long as this one.
 */
export function queuedTokens(request: PlacementRequest, worker: WorkerView): number {
  const others = Math.max(0, worker.record.load.waiting - worker.pendingRequests);
  return worker.pendingTokens + others * wholeTokens(request);
}

/** What of the queue counts less than its time, since the request needs it computed, too. */
export function sharedWait(
  request: PlacementRequest,
  worker: WorkerView,
  held: HeldContent | undefined,
): number {
  if (!held?.picturesComing && !held?.prefixComing) return 0;
  const { pictures, pictureTokens } = request;
  const prefix = Math.max(0, (held.prefixComing ?? 0) - held.prefixTokens);
  const tower = (TOWER_TOKENS * pictureTokens * (held.picturesComing ?? 0)) / Math.max(1, pictures);
  return (1 - SHARED_WAIT) * Math.min(queuedTokens(request, worker), prefix + tower);
}

/** What running requests add to as many steps. */
export function besideTokens(worker: WorkerView, steps: number): number {
  return RUNNING_TOKENS * worker.requests * steps;
}

/** Steps until the whole prompt is computed, beside running answers. */
export function prefillSteps(request: PlacementRequest, held: HeldContent | undefined): number {
  return missingTokens(request, held) / CHUNK_TOKENS;
}

/** What a worker has to compute for this request alone until its first token. */
export function ownTokens(request: PlacementRequest, held: HeldContent | undefined): number {
  return missingTokens(request, held) + towerTokens(request, held);
}

/** All that a worker has to compute until this request's first token. */
export function firstTokenTokens(
  request: PlacementRequest,
  worker: WorkerView,
  held: HeldContent | undefined,
): number {
  const beside = besideTokens(worker, prefillSteps(request, held));
  return ownTokens(request, held) + queuedTokens(request, worker) + beside;
}
