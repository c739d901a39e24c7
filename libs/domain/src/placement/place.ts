import type {
  Cost,
  Decision,
  Filter,
  HeldContent,
  Holdings,
  Pick,
  PickReason,
  PlacementRequest,
  Policy,
  Rejections,
  WeightedScorer,
  WorkerView,
} from './placement.js';

/** A worker with all that is known of what it costs a request. */
export interface ScoredWorker {
  readonly worker: WorkerView;
  readonly held: HeldContent | undefined;
  /** By scorer, weighted, in tokens of prefill; scorers that could not tell are left out. */
  readonly costs: Readonly<Record<string, number>>;
  readonly total: number;
}

/**
 * Filters, scores and picks at most `count` workers. Of those that are not picked nothing is kept but their total: over
 * a thousand workers records of their scores would take longer than the scores.
 */
export function place(
  request: PlacementRequest,
  workers: readonly WorkerView[],
  policy: Policy,
  count: number,
  random: () => number,
): Decision {
  const { candidates, rejected } = filter(request, workers, policy.filters);
  if (count === 0 || candidates.length === 0) return { picks: [], candidates, rejected };
  const costing = new Costing(request, candidates, policy.scorers);
  const indices = policy.picker.pick(costing.totals(), count, random);
  return { picks: indices.map((index) => costing.pick(index)), candidates, rejected };
}

/** Whether some worker can take the request, at this moment or when what stands against it has passed. */
export function canPlace(
  request: PlacementRequest,
  workers: readonly WorkerView[],
  { filters }: Policy,
): boolean {
  return workers.some((worker) => refusingFilter(request, worker, filters)?.passes ?? true);
}

/** Filters and scores, and keeps every score. */
export function scoreAll(
  request: PlacementRequest,
  workers: readonly WorkerView[],
  { filters, scorers }: Policy,
): { readonly scored: readonly ScoredWorker[]; readonly rejected: Rejections } {
  const { candidates, rejected } = filter(request, workers, filters);
  const costing = new Costing(request, candidates, scorers);
  return { scored: candidates.map((_worker, index) => costing.scored(index)), rejected };
}

function filter(
  request: PlacementRequest,
  workers: readonly WorkerView[],
  filters: readonly Filter[],
): { readonly candidates: readonly WorkerView[]; readonly rejected: Rejections } {
  const candidates: WorkerView[] = [];
  const rejected = new Map<Filter, WorkerView[]>();
  for (const worker of workers) {
    const refusing = refusingFilter(request, worker, filters);
    const others = refusing && rejected.get(refusing);
    if (!refusing) candidates.push(worker);
    else if (others) others.push(worker);
    else rejected.set(refusing, [worker]);
  }
  return { candidates, rejected };
}

function refusingFilter(
  request: PlacementRequest,
  worker: WorkerView,
  filters: readonly Filter[],
): Filter | undefined {
  for (const each of filters) if (!each.admits(request, worker)) return each;
  return undefined;
}

interface Part {
  readonly name: string;
  readonly weight: number;
  readonly write: Cost;
}

/** What the candidates of one decision cost. */
class Costing {
  readonly #parts: readonly Part[];
  readonly #held: Holdings | undefined;
  /** By part, of the worker that is looked at, not weighted. */
  readonly #costs: Float64Array;
  /** By part, over all candidates. */
  readonly #sums: Float64Array;

  constructor(
    request: PlacementRequest,
    private readonly candidates: readonly WorkerView[],
    scorers: readonly WeightedScorer[],
  ) {
    this.#parts = scorers.flatMap(({ scorer, weight }) => {
      const cost = weight === 0 ? undefined : scorer.over(request, candidates);
      return cost ? [{ name: scorer.name, weight, write: cost }] : [];
    });
    this.#costs = new Float64Array(this.#parts.length);
    this.#sums = new Float64Array(this.#parts.length);
    this.#held = request.holdings?.();
  }

  totals(): Float64Array {
    const { candidates } = this;
    const totals = new Float64Array(candidates.length);
    for (let index = 0; index < candidates.length; index += 1) {
      const worker = candidates[index] as WorkerView;
      totals[index] = this.#total(worker, this.#held?.(worker));
    }
    return totals;
  }

  #total(worker: WorkerView, held: HeldContent | undefined): number {
    let total = 0;
    for (let at = 0; at < this.#parts.length; at += 1) {
      const tokens = this.#tokens(at, worker, held);
      if (Number.isNaN(tokens)) continue;
      this.#sums[at] = (this.#sums[at] ?? 0) + tokens;
      total += tokens;
    }
    return total;
  }

  /** Weighted; NaN where it cannot be told. */
  #tokens(at: number, worker: WorkerView, held: HeldContent | undefined): number {
    const { weight, write } = this.#parts[at] as Part;
    this.#costs[at] = NaN;
    write(worker, held, this.#costs, at);
    return weight * this.#costs[at];
  }

  scored(index: number): ScoredWorker {
    const worker = this.candidates[index] as WorkerView;
    const held = this.#held?.(worker);
    const costs: Record<string, number> = {};
    let total = 0;
    for (const [at, { name }] of this.#parts.entries()) {
      const tokens = this.#tokens(at, worker, held);
      if (Number.isNaN(tokens)) continue;
      costs[name] = tokens;
      total += tokens;
    }
    return { worker, held, costs, total };
  }

  /** Once the totals are made. */
  pick(index: number): Pick {
    const scored = this.scored(index);
    return { ...scored, reason: this.#reason(scored) };
  }

  #reason({ costs }: ScoredWorker): PickReason {
    const { length } = this.candidates;
    if (length === 1) return 'only';
    let [reason, most] = ['even', 0];
    for (const [at, { name }] of this.#parts.entries()) {
      const saved = (this.#sums[at] ?? 0) / length - (costs[name] ?? 0);
      if (saved > Math.max(most, LEAST_REASON)) [reason, most] = [name, saved];
    }
    return reason;
  }
}

/** Nobody is chosen for less than a token; sums of a thousand costs are off by less. */
const LEAST_REASON = 0.5;
