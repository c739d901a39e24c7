import { describe, expect, it } from 'vitest';

import { textName } from '../identity/index.js';
import { ROOT } from '../testing/request-scripts.js';
import { Sequence } from './sequence/sequence.js';
import { SchedulerState } from './state.js';

describe('SchedulerState', () => {
  it('promises room beside a tail once: who asks after that begins a block', () => {
    const state = new SchedulerState({ blocks: 4, maxStepTokens: 64, maxRunning: 2 });
    state.source.takePages(3);
    const room = state.tailRoom();
    expect([room.tailTakesBlock(5), room.tailTakesBlock(5)]).toEqual([false, true]);
    expect(state.tailRoom().tailTakesBlock(5)).toBe(false);
    expect(state.tailRoom().tailTakesBlock(6)).toBe(true);
  });

  it('counts without what is idle as if every tail found room beside others', () => {
    const state = new SchedulerState({ blocks: 4, maxStepTokens: 64, maxRunning: 2 });
    const fits = (blocks: number) => state.fitsWithoutIdle((room) => (room.tailTakesBlock(3) ? 99 : blocks));
    expect([fits(4), fits(5)]).toEqual([true, false]);
  });

  it('knows runs that one alone holds, the cache’s own hold aside', () => {
    const { state, entry, run } = cached();
    expect(state.source.ownedAlone(run)).toBe(true);
    state.share([entry]);
    expect(state.source.ownedAlone(run)).toBe(false);
    const [other = 0] = state.source.takeBlocks(1);
    expect(state.source.ownedAlone(other * 8)).toBe(true);
    state.pool.share([other * 8]);
    expect(state.source.ownedAlone(other * 8)).toBe(false);
  });

  it('has another sharing when content gets or loses one of several users, and else the same', () => {
    const { state, entry } = cached();
    const changes = (act: () => void): boolean => {
      const before = state.sharing;
      act();
      return state.sharing > before;
    };
    const share = () => {
      state.share([entry]);
    };
    const leave = () => {
      state.source.leave([entry]);
    };
    expect(changes(share)).toBe(false);
    entry.users = 2;
    const alone = cached().entry;
    state.source.takeBlocks(1);
    expect(
      changes(() => {
        state.share([entry, { ...alone, runs: [8] }]);
      }),
    ).toBe(true);
    expect([changes(leave), changes(leave)]).toEqual([true, false]);
  });

  it('keeps slots to close until a step closes them', () => {
    const { state } = cached();
    const sequences = [0, 1].map((arrival) => started(state, arrival));
    for (const sequence of sequences) state.drop(sequence);
    expect(state.closing).toEqual([0, 1]);
    state.closed([0, 5]);
    expect(state.closing).toEqual([1]);
  });

  it('counts the pages that are kept elsewhere, until their sequence is back or ends', () => {
    const { state } = cached();
    const [first, last] = [started(state, 0), started(state, 1)];
    state.swapOut(last);
    state.swapOut(first);
    expect(state.swappedPages).toBe(16);
    state.enterSlot(last);
    last.restore(state.source, { changes: [], chunks: [], rows: 0, samples: false });
    state.swappedIn(last);
    expect([state.swappedPages, state.counts.swapsOut, state.counts.swapsIn]).toEqual([8, 2, 1]);
    state.drop(first);
    expect(state.swappedPages).toBe(0);
    state.drop(last);
    expect([state.swappedPages, state.pool.heldPages]).toEqual([0, 8]);
  });
});

/** A state with one block of content in use, which its user holds too. */
function cached() {
  const state = new SchedulerState({ blocks: 4, maxStepTokens: 64, maxRunning: 2 });
  const [block = 0] = state.source.takeBlocks(1);
  const unit = { name: textName(ROOT, [1]), parent: ROOT, tokenIds: [1] };
  const entry = state.cache.insert(unit, { kind: 'text', block });
  if (!entry) throw new Error('it is there already');
  return { state, entry, run: block * 8 };
}

/** A sequence that runs and holds a block. */
function started(state: SchedulerState, arrival: number): Sequence {
  const sequence = new Sequence({ id: `r${arrival}`, promptTokens: 5, pictures: [] }, arrival, state.shape);
  state.add(sequence);
  state.enterSlot(sequence);
  sequence.advance(9, { changes: [], chunks: [], rows: 0, samples: false }, state.source);
  return sequence;
}
