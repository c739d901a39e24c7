import type { Picker } from '../../placement.js';
import { betterOfTwo } from '../better-of-two.js';

/** Costs that are higher by less are as good: a heartbeat's age alone changes more. */
const MARGIN = 0.05;

/** Two at random of those near the best, the better one of the two; see README.md. */
export const nearBest: Picker = {
  pick(totals, count, random) {
    const picks: number[] = [];
    while (picks.length < Math.min(count, totals.length))
      picks.push(betterOfTwo(totals, near(totals, picks), random));
    return picks;
  },
};

/** Indices of what is near the best, but for those that were taken; never empty while some were not. */
function near(totals: Float64Array, taken: readonly number[]): number[] {
  let best = Infinity;
  for (let at = 0; at < totals.length; at += 1)
    if (!taken.includes(at)) best = Math.min(best, totals[at] ?? Infinity);
  const indices: number[] = [];
  for (let at = 0; at < totals.length; at += 1)
    if ((totals[at] ?? Infinity) <= best * (1 + MARGIN) && !taken.includes(at)) indices.push(at);
  return indices;
}
