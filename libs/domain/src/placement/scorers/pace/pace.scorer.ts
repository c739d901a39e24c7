import { firstTokenTokens } from '../../cost-model.js';
import type { Scorer, WorkerView } from '../../placement.js';

/** One that is slower still is avoided as much: a single measurement may have met a pause of the machine. */
const SLOWEST = 8;

/** Of the workers that were measured; undefined where fewer than two were. */
function median(workers: readonly WorkerView[]): number | undefined {
  const known: number[] = [];
  for (const { msPerToken } of workers) if (msPerToken !== undefined) known.push(msPerToken);
  if (known.length < 2) return undefined;
  return Float64Array.from(known).sort()[(known.length - 1) >> 1];
}

/** What a worker's being slower than the others costs until the first token; see README.md. */
export const pace: Scorer = {
  name: 'pace',
  over(request, candidates) {
    const usual = median(candidates);
    if (!usual) return undefined;
    return (worker, held, costs, at) => {
      const { msPerToken } = worker;
      if (msPerToken === undefined) return;
      const slower = Math.min(SLOWEST, msPerToken / usual) - 1;
      costs[at] = slower <= 0 ? 0 : slower * firstTokenTokens(request, worker, held);
    };
  },
};
