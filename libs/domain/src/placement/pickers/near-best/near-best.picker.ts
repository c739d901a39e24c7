import type { Picker, ScoredWorker } from '../../placement.js';

/** Scores this close to the best are as good: a heartbeat's age alone changes more. */
const MARGIN = 0.05;

/** Two at random of those near the best, the better one of the two; see README.md. */
export const nearBest: Picker = {
  name: 'near-best',
  pick(candidates, count, random) {
    const rest = [...candidates];
    const picks: ScoredWorker[] = [];
    while (picks.length < count && rest.length > 0) {
      const pick = betterOfTwo(near(rest), random);
      rest.splice(rest.indexOf(pick), 1);
      picks.push(pick);
    }
    return picks;
  },
};

/** Never empty where `candidates` is not. */
function near(candidates: readonly ScoredWorker[]): ScoredWorker[] {
  const best = candidates.reduce((most, { total }) => Math.max(most, total), -Infinity);
  return candidates.filter(({ total }) => total >= best - MARGIN);
}

function betterOfTwo(candidates: readonly ScoredWorker[], random: () => number): ScoredWorker {
  const first = Math.floor(random() * candidates.length);
  const step = 1 + Math.floor(random() * (candidates.length - 1));
  const a = candidates[first] as ScoredWorker;
  const b = candidates[(first + step) % candidates.length] as ScoredWorker;
  return b.total > a.total ? b : a;
}
