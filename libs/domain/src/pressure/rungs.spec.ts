import { describe, expect, it, vi } from 'vitest';

import { textName } from '../identity/index.js';
import { newDraft } from '../scheduling/draft.js';
import { FINDS_ROOM, type TailRoom } from '../scheduling/sequence/page-source.js';
import { Sequence } from '../scheduling/sequence/sequence.js';
import { SchedulerState } from '../scheduling/state.js';
import { ROOT } from '../testing/request-scripts.js';
import { evict } from './evict/evict.js';
import { relieve, withoutRelief } from './ladder.js';
import { preempt } from './preempt/preempt.js';
import { recompressPictures } from './recompress-pictures/recompress-pictures.js';
import { recompressText } from './recompress-text/recompress-text.js';
import type { Need } from './rung.js';
import { swap, swappable } from './swap/swap.js';

const SHORT: Need = { budget: { rows: new Map(), maxRows: 1 }, blocks: 99, short: true };
const shape = { blockTokens: 16, pagesPerBlock: 8 };

/** Blocks that something takes: where idle content is in the way, and where every tail finds room. */
type Takes = readonly [now: number, without: number];
const taken = (takes: Takes | undefined) => (room: TailRoom) => takes?.[room === FINDS_ROOM ? 1 : 0];

/** One who runs, as the ladder looks at it. */
const runner = (picture?: Takes, text?: Takes) => ({
  blocksToRecompress: taken(picture),
  blocksToRecompressText: taken(text),
  hasTextToRecompress: () => text !== undefined,
});

/** Four blocks are there, and the next rows take `rows`. */
function stateOf(rows: Takes, items: readonly ReturnType<typeof runner>[], idlePages = 8): SchedulerState {
  const available = 4;
  return {
    ...{ available, source: {}, cache: { idlePages }, options: {}, swappedPages: 0 },
    running: { items, size: items.length, last: items.at(-1) },
    blocksForNext: (_: unknown, room: TailRoom) => taken(rows)(room),
    fitsWithoutIdle: (count: (room: TailRoom) => number) => count(FINDS_ROOM) <= available,
  } as unknown as SchedulerState;
}

const need = (blocks: number): Need => ({ ...SHORT, blocks, short: blocks > 4 });

/** Sequences that run, each with so many tokens in pages, and a block that nobody uses any more. */
function running(swapPages: number, ...tokens: number[]) {
  const state = new SchedulerState({ blocks: 16, maxStepTokens: 99, maxRunning: 8, swapPages });
  const [block = 0] = state.source.takeBlocks(1);
  const entry = state.cache.insert(
    { name: textName(ROOT, [1]), parent: ROOT, tokenIds: [1] },
    { kind: 'text', block },
  );
  state.cache.leave(entry ? [entry] : []);
  state.source.release([block * 8]);
  const sequences = tokens.map((promptTokens, arrival) => {
    const sequence = new Sequence({ id: `r${arrival}`, promptTokens, pictures: [] }, arrival, shape);
    state.add(sequence);
    state.enterSlot(sequence);
    sequence.advance(99, { changes: [], chunks: [], rows: 0, samples: false }, state.source);
    return sequence;
  });
  return { state, sequences, draft: newDraft(1, 99) };
}

describe('idle content is evicted', () => {
  const relief = (rows: Takes, items: readonly ReturnType<typeof runner>[] = [], idlePages = 8) =>
    evict(stateOf(rows, items, idlePages), newDraft(1, 1), need(rows[0]))?.idle;

  it.each<[string, Takes, readonly ReturnType<typeof runner>[], true | undefined]>([
    ['the next rows', [5, 4], [], true],
    ['the next rows, which fit', [4, 3], [], undefined],
    ['the next rows, which do not fit without it either', [6, 5], [], undefined],
    ['a picture’s compression', [2, 2], [runner([3, 2])], true],
    ['a picture’s compression, which fits', [2, 2], [runner([2, 1])], undefined],
    ['a picture’s compression, which does not fit without it either', [2, 2], [runner([3, 3])], undefined],
    ['the compression of text', [2, 2], [runner(undefined, [3, 2])], true],
    [
      'that of an earlier one, as the last one’s fits',
      [2, 2],
      [3, 2].map((n) => runner(undefined, [n, 2])),
      true,
    ],
    ['the next rows, if for nothing beside them', [5, 4], [runner([3, 3], [3, 3])], true],
    ['nothing', [2, 2], [runner()], undefined],
  ])('where it keeps tails from room for %s', (_, rows, items, idle) => {
    expect(relief(rows, items)).toBe(idle);
  });

  it('where there is any', () => {
    expect(relief([5, 4], [], 0)).toBeUndefined();
  });
});

describe('a step for which idle content alone goes', () => {
  it.each([
    ['as it is', relieve],
    ['ahead', withoutRelief],
  ])('planned %s takes nothing from anybody', (_, plan) => {
    const cache = { idlePages: 8, evict: vi.fn(() => (cache.idlePages = 0)) };
    const { budget } = SHORT;
    const rungs = { evict: 0, preempt: 0 };
    const state = {
      ...{ ...stateOf([5, 4], []), cache, budget: () => budget, tailRoom: () => ({}) },
      counts: { rungs },
      blocksForNext: (__: unknown, room: TailRoom) => (cache.idlePages > 0 && room !== FINDS_ROOM ? 5 : 4),
    } as unknown as SchedulerState;
    expect(plan(state, newDraft(1, 1))).toEqual({ budget, roomy: true });
    expect(cache.evict).toHaveBeenCalledExactlyOnceWith('fragmentation');
    expect(rungs).toEqual({ evict: 1, preempt: 0 });
  });
});

describe('what is compressed under pressure', () => {
  const rungs = { picture: recompressPictures, text: recompressText };

  it.each([
    ['picture', 3, 2, true],
    ['picture', 3, 1, false],
    ['picture', 5, 1, true],
    ['text', 3, 2, true],
    ['text', 3, 1, false],
    ['text', 5, 1, true],
  ] as const)('%s: rows of %i blocks of four, and %i beside them', (kind, rows, beside, isDue) => {
    const takes: Takes = [beside, beside];
    const items = [kind === 'picture' ? runner(takes) : runner(undefined, takes)];
    const relief = rungs[kind](stateOf([rows, rows], items), newDraft(1, 1), need(rows));
    expect(relief?.idle).toBe(isDue ? false : undefined);
  });

  it.each(['picture', 'text'] as const)('%s: never takes more than there is', (kind) => {
    const items = [kind === 'picture' ? runner([5, 5]) : runner(undefined, [5, 5])];
    expect(rungs[kind](stateOf([5, 5], items), newDraft(1, 1), need(5))).toBeUndefined();
  });

  it('text: a run of the last one’s, before all work of the step', () => {
    const { state, draft } = running(0);
    const textUnderPressure = {
      ...{ stored: { format: 1, pages: 5 }, tokens: 16 },
      form: { codec: 'q8', profileId: '' },
    };
    const request = { id: 'a', promptTokens: 16, pictures: [], textUnderPressure };
    const sequence = new Sequence(request, 0, shape);
    state.add(sequence);
    state.enterSlot(sequence);
    sequence.advance(99, { changes: [], chunks: [], rows: 0, samples: false }, state.source);
    recompressText(state, draft, SHORT)?.act();
    expect(draft.recompressed).toEqual([{ id: 'a', picture: undefined, start: 0 }]);
    expect(draft.head).toMatchObject([{ slot: 0, changes: [{ kind: 'compress', format: 1 }] }]);
    expect([draft.head[0]?.changes.length, state.counts.textRecompressions]).toEqual([1, 1]);
  });

  it('text: not while somebody can be swapped out', () => {
    const { state, sequences, draft } = running(100, 10, 10);
    for (const sequence of sequences) {
      vi.spyOn(sequence, 'blocksToRecompressText').mockReturnValue(1);
      vi.spyOn(sequence, 'hasTextToRecompress').mockReturnValue(true);
    }
    expect(recompressText(state, draft, SHORT)).toBeUndefined();
    state.drop(sequences[1] as Sequence);
    expect(recompressText(state, draft, SHORT)).toBeDefined();
  });
});

describe('who is swapped out', () => {
  it('is the last, where all its pages may be kept', () => {
    const [enough, few] = [running(16, 10, 20), running(15, 10, 20)];
    expect(swappable(enough.state, enough.draft)).toBe(enough.sequences[1]);
    expect(swappable(few.state, few.draft)).toBeUndefined();
  });

  it('takes what is kept already into account', () => {
    const within = running(24, 10, 5, 20);
    within.state.swapOut(within.sequences[2] as Sequence);
    expect(swappable(within.state, within.draft)).toBe(within.sequences[1]);
    const beyond = running(23, 10, 5, 20);
    beyond.state.swapOut(beyond.sequences[2] as Sequence);
    expect(swappable(beyond.state, beyond.draft)).toBeUndefined();
  });

  it('is nobody who is alone, and nobody where nothing may be kept', () => {
    const alone = running(100, 10);
    expect(swap(alone.state, alone.draft, SHORT)).toBeUndefined();
    const none = running(0, 10, 10);
    expect(swap(none.state, none.draft, SHORT)).toBeUndefined();
  });

  it('is nobody while rows fit, and nobody whose picture or text the step compresses', () => {
    const { state, sequences, draft } = running(100, 10, 10);
    const [first, last] = sequences as [Sequence, Sequence];
    expect(swap(state, draft, { ...SHORT, short: false })).toBeUndefined();
    draft.head.push({ sequence: first, slot: 0, changes: [] });
    expect(swap(state, draft, SHORT)?.idle).toBe(false);
    draft.head.push({ sequence: last, slot: 1, changes: [] });
    expect(swap(state, draft, SHORT)).toBeUndefined();
  });

  it('frees its pages, whose bytes are read', () => {
    const { state, sequences, draft } = running(100, 10, 20);
    const { pages } = (sequences[1] as Sequence).table;
    const free = state.pool.freePages;
    swap(state, draft, SHORT)?.act();
    expect(draft.reads).toEqual([{ id: 'r1', pages }]);
    expect([state.pool.freePages - free, state.swappedPages]).toEqual([16, 16]);
    expect(state.waiting.items).toEqual([sequences[1]]);
  });
});

describe('who is preempted', () => {
  it('is the last, and what is cached stays where others run on', () => {
    const { state, draft } = running(0, 10, 10);
    expect(preempt(state, draft, { ...SHORT, short: false })).toBeUndefined();
    const relief = preempt(state, draft, SHORT);
    expect(relief?.idle).toBe(false);
    relief?.act();
    expect([draft.preempted, state.cache.size, draft.exhausted.size]).toEqual([['r1'], 1, 0]);
    expect(state.running.items.map(({ id }) => id)).toEqual(['r0']);
  });

  it('begins once more in an emptied pool where it is alone, and ends when that brought it no token', () => {
    const { state, sequences, draft } = running(0, 10);
    const [alone] = sequences as [Sequence];
    const again = (generated: number) => {
      preempt(state, draft, SHORT)?.act();
      if (state.waiting.size === 0) return;
      state.enterSlot(alone);
      alone.progress.generated = generated;
    };
    again(2);
    expect([draft.preempted, state.cache.size]).toEqual([['r0'], 0]);
    // it has got one token since: that is worth another try
    again(2);
    expect(draft.preempted).toEqual(['r0', 'r0']);
    again(2);
    expect([draft.preempted.length, draft.exhausted.size]).toEqual([2, 1]);
    expect([state.find('r0'), state.running.size]).toEqual([undefined, 0]);
  });

  it('is nobody where nobody runs', () => {
    const { state, draft } = running(0);
    expect(preempt(state, draft, SHORT)).toBeUndefined();
  });
});
