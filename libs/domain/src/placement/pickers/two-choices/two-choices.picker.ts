import type { Picker } from '../../placement.js';
import { betterOfTwo } from '../better-of-two.js';
import { others } from '../others.js';

/** Two at random of all, the better one of the two. */
export const twoChoices: Picker = {
  pick(totals, count, random) {
    const picks: number[] = [];
    while (picks.length < Math.min(count, totals.length))
      picks.push(betterOfTwo(totals, others(totals, picks), random));
    return picks;
  },
};
