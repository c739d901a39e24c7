import type { TailRoom } from '../../scheduling/sequence/page-source.js';
import type { SchedulerState } from '../../scheduling/state.js';
import { nextPicture } from '../recompress-pictures/recompress-pictures.js';
import { nextText } from '../recompress-text/recompress-text.js';
import type { Need, Rung } from '../rung.js';

/**
 * Content that nobody uses. Whole blocks of it count as free and are evicted when they are taken; here goes what
 * only keeps tails from room beside pages in use, before a running sequence has to give something up.
 */
export const evict: Rung = (state, _, need) => {
  if (state.cache.idlePages === 0 || !standsInTheWay(state, need)) return undefined;
  return {
    idle: true,
    act: () => {
      state.cache.evict('fragmentation');
    },
  };
};

/** Whether the next rows, or the next compression beside them, would fit if every tail found room. */
function standsInTheWay(state: SchedulerState, need: Need): boolean {
  const { source, available } = state;
  const picture = nextPicture(state);
  const text = nextText(state, (blocks) => need.blocks + blocks > available);
  const beside = [
    () => 0,
    (room: TailRoom) => picture?.blocksToRecompress(room) ?? 0,
    (room: TailRoom) => text?.blocksToRecompressText(room) ?? 0,
  ];
  return beside.some(
    (more) =>
      need.blocks + more(source) > available &&
      state.fitsWithoutIdle((room) => state.blocksForNext(need.budget, room) + more(room)),
  );
}
