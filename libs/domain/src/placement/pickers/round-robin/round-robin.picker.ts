import type { Picker } from '../../placement.js';

/** One after the other in the order of the snapshot, whatever they cost; counts its own turns. */
export function roundRobin(): Picker {
  let turn = 0;
  return {
    pick({ length }, count) {
      const picks = Array.from({ length: Math.min(count, length) }, (_, step) => (turn + step) % length);
      turn = (turn + 1) % Number.MAX_SAFE_INTEGER;
      return picks;
    },
  };
}
