import { exhaust } from '../../scheduling/admission.js';
import type { Sequence } from '../../scheduling/sequence/sequence.js';
import type { SchedulerState } from '../../scheduling/state.js';
import type { Rung } from '../rung.js';

/**
 * The last running sequence is computed again later, with what it has generated as part of its text. One that is
 * alone begins once more in an emptied pool, where its pages lie as close together as they can; when it has got no
 * token since, the pool is too small for it.
 */
export const preempt: Rung = (state, draft, { short }) => {
  const victim = state.running.last;
  if (!short || !victim) return undefined;
  const alone = state.running.size === 1;
  const { generated } = victim.progress;
  const isTooLarge = alone && generated === victim.generatedAtRestart;
  return {
    idle: false,
    act: () => {
      if (isTooLarge) {
        exhaust(state, victim, draft);
        return;
      }
      state.preempt(victim);
      draft.preempted.push(victim.id);
      if (alone) startAfresh(state, victim);
    },
  };
};

function startAfresh(state: SchedulerState, sequence: Sequence): void {
  sequence.generatedAtRestart = sequence.progress.generated;
  while (state.cache.evict('preemption'));
}
