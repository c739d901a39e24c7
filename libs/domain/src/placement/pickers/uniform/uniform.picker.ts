import type { Picker } from '../../placement.js';
import { others } from '../others.js';

/** Any of them, whatever they cost. */
export const uniform: Picker = {
  pick(totals, count, random) {
    const picks: number[] = [];
    while (picks.length < Math.min(count, totals.length)) {
      const rest = others(totals, picks);
      picks.push(rest[Math.floor(random() * rest.length)] as number);
    }
    return picks;
  },
};
