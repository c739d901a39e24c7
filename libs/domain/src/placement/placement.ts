import type { WorkerRecord } from '../registry/index.js';

/** A worker as one router sees it: its last heartbeat and what this router has sent there since. */
export interface WorkerView {
  readonly record: WorkerRecord;
  /** Requests of this router that are not answered yet. */
  readonly ownRequests: number;
  /** Pages that this router reserved for them. */
  readonly ownPages: number;
}

export interface PlacementRequest {
  readonly modelId: string;
  /** The codec that the request names; undefined leaves it to the worker. */
  readonly kvCodec?: string | undefined;
  /** Pages the request needs at its peak on that worker: its codec decides. */
  pagesOn(worker: WorkerRecord): number;
}

/** Pure: no I/O, a score in [0, 1], higher is better, undefined when what it needs is not known. */
export interface PlacementPolicy {
  readonly name: string;
  score(request: PlacementRequest, worker: WorkerView): number | undefined;
}

/** One worker's scores by policy, and their mean over the policies that could tell. */
export interface ScoredWorker {
  readonly worker: WorkerView;
  readonly scores: Readonly<Record<string, number>>;
  readonly total: number;
}

/** Ready workers of the model that serve the codec and whose pool could ever hold the request. */
export function eligible(request: PlacementRequest, workers: readonly WorkerView[]): WorkerView[] {
  return workers.filter(
    ({ record }) =>
      record.load.state === 'ready' &&
      record.modelId === request.modelId &&
      (request.kvCodec === undefined || record.codecs.includes(request.kvCodec)) &&
      record.capacityPages >= request.pagesOn(record),
  );
}

/** Eligible workers, best first; ties go by worker id, so that the same snapshot gives the same order. */
export function rank(
  request: PlacementRequest,
  workers: readonly WorkerView[],
  policies: readonly PlacementPolicy[],
): ScoredWorker[] {
  return eligible(request, workers)
    .map((worker) => scored(request, worker, policies))
    .sort((a, b) => b.total - a.total || (a.worker.record.workerId < b.worker.record.workerId ? -1 : 1));
}

function scored(
  request: PlacementRequest,
  worker: WorkerView,
  policies: readonly PlacementPolicy[],
): ScoredWorker {
  const scores: Record<string, number> = {};
  for (const policy of policies) {
    const score = policy.score(request, worker);
    if (score !== undefined) scores[policy.name] = score;
  }
  const known = Object.values(scores);
  return { worker, scores, total: known.reduce((sum, score) => sum + score, 0) / Math.max(1, known.length) };
}
