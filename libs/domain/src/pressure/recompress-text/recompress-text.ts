import type { Sequence } from '../../scheduling/sequence/sequence.js';
import type { SchedulerState } from '../../scheduling/state.js';
import type { Rung } from '../rung.js';
import { swappable } from '../swap/swap.js';

/**
 * A run of raw text of a running sequence is compressed, where its request allows it and no sequence can be swapped
 * out: when pages are short or would not last for this very rung.
 */
export const recompressText: Rung = (state, draft, { blocks, short }) => {
  if (swappable(state, draft)) return undefined;
  const sequence = nextText(state, (beside) => short || blocks + beside > state.available);
  return (
    sequence && {
      idle: false,
      act: () => {
        const { slot } = sequence;
        const changes: Parameters<Sequence['recompressText']>[1] = [];
        draft.recompressed.push(sequence.recompressText(state.source, changes));
        draft.head.push({ sequence, slot, changes });
        state.counts.textRecompressions += 1;
      },
    }
  );
};

/** Whose text is next: that of the last sequence that has room for a run, where `isDue` holds for its blocks. */
export function nextText(
  { running, source, available }: SchedulerState,
  isDue: (blocks: number) => boolean,
): Sequence | undefined {
  return running.items.findLast((sequence) => {
    const blocks = sequence.blocksToRecompressText(source);
    if (blocks === undefined || blocks > available || !isDue(blocks)) return false;
    return sequence.hasTextToRecompress(source);
  });
}
