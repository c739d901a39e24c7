import { mixSeed, SeededRandom } from '@kvcapsule/testing/scenes';
import { arrivalTimes } from '../arrivals/index.js';
import type { Workload } from '../workload/index.js';
import type { RunPlan } from './plan.js';

/** A conversation and when it is to begin, ms from the start. */
export interface Start {
  readonly conversation: number;
  readonly atMs: number;
}

const ARRIVAL_STREAM = 0xa5;

/**
 * The starts of this shard. Every process draws all of them and takes its own, so a load is the same for any number of
 * processes.
 */
export function* startsOf(plan: RunPlan, workload: Workload): Generator<Start, void> {
  const { shard, requests = Infinity, durationMs = Infinity, warmUpMs } = plan;
  const endMs = warmUpMs + durationMs;
  let [conversation, counted] = [0, 0];
  for (const atMs of timesOf(plan, workload)) {
    if (atMs >= endMs || counted >= requests || conversation >= (workload.count ?? Infinity)) return;
    if (conversation % shard.of === shard.index) yield { conversation, atMs };
    if (atMs >= warmUpMs) counted += 1;
    conversation += 1;
  }
}

function timesOf({ shape, seed }: RunPlan, { arrivalsMs = [] }: Workload): Iterable<number> {
  if (shape.kind !== 'open') return arrivalsMs;
  const random = new SeededRandom(mixSeed(seed, ARRIVAL_STREAM));
  return arrivalTimes(shape.profile, shape.spacing, () => random.next());
}
