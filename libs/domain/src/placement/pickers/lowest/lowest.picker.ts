import type { Picker } from '../../placement.js';
import { others } from '../others.js';

/** The cheapest one, any of them where several are. */
export const lowest: Picker = {
  pick(totals, count, random) {
    const picks: number[] = [];
    while (picks.length < Math.min(count, totals.length)) {
      const rest = others(totals, picks);
      const least = rest.reduce((best, at) => Math.min(best, totals[at] as number), Infinity);
      const best = rest.filter((at) => totals[at] === least);
      picks.push(best[Math.floor(random() * best.length)] as number);
    }
    return picks;
  },
};
