import type { Draft } from '../../scheduling/draft.js';
import type { Sequence } from '../../scheduling/sequence/sequence.js';
import type { SchedulerState } from '../../scheduling/state.js';
import type { Rung } from '../rung.js';

/** The last running sequence's pages are given up; their bytes are kept elsewhere until it goes on. */
export const swap: Rung = (state, draft, { short }) => {
  const sequence = short ? swappable(state, draft) : undefined;
  return (
    sequence && {
      idle: false,
      act: () => {
        draft.reads.push({ id: sequence.id, pages: sequence.table.pages });
        state.swapOut(sequence);
      },
    }
  );
};

/** The last running sequence, where its bytes may be kept elsewhere and it leaves others behind. */
export function swappable(state: SchedulerState, { head }: Draft): Sequence | undefined {
  const { running, swappedPages, options } = state;
  const { swapPages = 0 } = options;
  const victim = running.last;
  if (!victim || running.size === 1) return undefined;
  // what is read is read before the changes: what this step stores is not there yet
  if (head.some(({ sequence }) => sequence === victim)) return undefined;
  return swappedPages + victim.table.pageCount <= swapPages ? victim : undefined;
}
