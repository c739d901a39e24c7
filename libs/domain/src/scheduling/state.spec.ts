import { describe, expect, it } from 'vitest';

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
});
