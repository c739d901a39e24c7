import type { Sequence } from '../../scheduling/sequence/sequence.js';
import type { SchedulerState } from '../../scheduling/state.js';
import type { Rung } from '../rung.js';

/**
 * A picture of a running sequence becomes a smaller capsule, when pages are short or would not last for this very
 * rung: capsule and rows stand side by side for a moment.
 */
export const recompressPictures: Rung = (state, draft, { blocks, short }) => {
  const sequence = nextPicture(state);
  const beside = sequence?.blocksToRecompress(state.source) ?? 0;
  if (!sequence || (!short && blocks + beside <= state.available)) return undefined;
  return {
    idle: false,
    act: () => {
      const { slot } = sequence;
      const changes: Parameters<Sequence['recompress']>[1] = [];
      draft.recompressed.push(sequence.recompress(state.source, changes));
      draft.head.push({ sequence, slot, changes });
      state.counts.recompressions += 1;
    },
  };
};

/** The sequence whose picture is next: the last one in order that has room for the compression. */
export function nextPicture({ running, source, available }: SchedulerState): Sequence | undefined {
  return running.items.findLast((sequence) => {
    const blocks = sequence.blocksToRecompress(source);
    return blocks !== undefined && blocks <= available;
  });
}
