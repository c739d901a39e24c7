import { describe, expect, it, vi } from 'vitest';

import { picture, ROOT } from '../testing/request-scripts.js';
import { Admission } from './admission.js';
import { newDraft } from './draft.js';
import { Scheduler } from './scheduler.js';
import type { SchedulerState } from './state.js';
import type { ScheduledPicture, ScheduledRequest, ScheduledStep } from './step.js';

const tokenIds = Array.from({ length: 40 }, (_, at) => at % 7);
const content = { root: ROOT, tokenIds };
const shown = (offset: number, sha = 1): ScheduledPicture => ({
  ...picture(offset, 20, 0, 3),
  content: { codec: 'capsule', profileId: 'p', contentSha256: Uint8Array.of(sha) },
});

function step(scheduler: Scheduler): ScheduledStep | undefined {
  const planned = scheduler.plan();
  if (planned) scheduler.complete(planned, []);
  return planned;
}

/** Computes a request's prompt, and leaves what it holds in the cache. */
function cache(scheduler: Scheduler, request: ScheduledRequest): void {
  scheduler.add({ ...request, maxTokens: 2 });
  for (let planned = step(scheduler); planned; planned = step(scheduler));
  scheduler.finish(request.id);
}

describe('who waits is let in', () => {
  it('while the step has rows', () => {
    const scheduler = new Scheduler({ blocks: 8, maxStepTokens: 1, maxRunning: 4 });
    for (const id of ['a', 'b']) scheduler.add({ id, promptTokens: 1, pictures: [] });
    step(scheduler);
    step(scheduler);
    expect([scheduler.running, scheduler.waiting]).toEqual([['a'], ['b']]);
  });

  it('when a slot is free, also where its pictures are cached, and is asked for features before that', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 64, maxRunning: 1 });
    const request = (id: string, sha: number) => ({
      ...{ id, promptTokens: 40, pictures: [shown(0, sha)], content },
    });
    cache(scheduler, request('gone', 1));
    scheduler.add({ id: 'runs', promptTokens: 4, pictures: [] });
    step(scheduler);
    const cached = request('cached', 1);
    scheduler.add(cached, scheduler.cachedPictures(cached));
    expect(step(scheduler)?.missing).toEqual([]);
    // its features were cached when it came, and are not any more
    scheduler.add({ ...request('evicted', 2), priority: -1 }, 1);
    expect(step(scheduler)?.missing).toEqual(['evicted']);
    expect([scheduler.running, scheduler.waiting]).toEqual([['runs'], ['evicted', 'cached']]);
    scheduler.finish('runs');
    step(scheduler);
    expect([scheduler.running, scheduler.cachedTokens('cached')]).toEqual([['cached'], 39]);
  });

  it('as a guest where all slots are taken and none of its tenant runs, past those that are none', () => {
    const scheduler = new Scheduler({ blocks: 200, maxStepTokens: 64, maxRunning: 32 });
    const of = (tenant: string, id: string) => {
      const owner = { tenant, weight: 1 };
      scheduler.add({ id: `${tenant}${id}`, promptTokens: 1, pictures: [], content: { ...content, owner } });
    };
    for (let at = 0; at < 34; at += 1) of('noisy', `${at}`);
    for (const tenant of ['b', 'c', 'd']) for (const id of ['1', '2']) of(tenant, id);
    step(scheduler);
    expect(scheduler.running.slice(32)).toEqual(['b1', 'c1']);
    expect(scheduler.waiting).toEqual(['noisy32', 'noisy33', 'b2', 'c2', 'd1', 'd2']);
    // what comes free is a guest's, too, while more run than slots are for all
    scheduler.finish('noisy0');
    step(scheduler);
    expect(scheduler.running.slice(31)).toEqual(['b1', 'c1', 'd1']);
    scheduler.finish('b1');
    scheduler.finish('c1');
    step(scheduler);
    expect(scheduler.running.slice(31)).toEqual(['b2', 'c2', 'd1']);
    for (const id of ['b2', 'c2', 'd1']) scheduler.finish(id);
    step(scheduler);
    expect(scheduler.running.slice(31)).toEqual(['noisy32', 'd2']);
  });

  it('with what is cached of it given back, where it has to wait for features', () => {
    const scheduler = new Scheduler({ blocks: 16, maxStepTokens: 64, maxRunning: 2 });
    cache(scheduler, { id: 'text', promptTokens: 40, pictures: [], content });
    const { cachedPages } = scheduler.pool;
    expect(cachedPages).toBe(24);
    // a block and four tokens of the next one are there
    scheduler.add({ id: 'a', promptTokens: 40, pictures: [shown(20)], content }, 1);
    expect(step(scheduler)?.missing).toEqual(['a']);
    expect(scheduler.pool).toMatchObject({ cachedPages, heldPages: 0 });
  });
});

describe('who comes has room for itself', () => {
  /** Who runs when `next` has come to those that run already, in a pool of so many blocks. */
  const running = (
    blocks: number,
    before: readonly Partial<ScheduledRequest>[],
    next: Partial<ScheduledRequest>,
  ) => {
    const scheduler = new Scheduler({ blocks, maxStepTokens: 100, maxRunning: 8 });
    const add = (request: Partial<ScheduledRequest>, id: string) => {
      scheduler.add({ id, promptTokens: 4, pictures: [], ...request });
    };
    before.forEach((request, index) => {
      add(request, `r${index}`);
    });
    if (before.every(({ pictures }) => !pictures?.some(({ stored }) => stored))) step(scheduler);
    add(next, 'next');
    step(scheduler);
    return scheduler.running.includes('next');
  };
  const form = { codec: 'capsule', profileId: 'p' };
  /** A picture of one block whose compression under pressure takes five. */
  const pressed: ScheduledPicture = {
    ...picture(0, 16, 0, undefined),
    underPressure: { stored: { format: 1, pages: 40 }, restRows: [], form },
  };

  it.each<[string, number, readonly Partial<ScheduledRequest>[], Partial<ScheduledRequest>]>([
    ['and a block to grow into, as the one that runs has', 1 + 3 + 2, [{}], { promptTokens: 33 }],
    ['and a block to grow into, as each of those that run has', 2 + 1 + 3, [{}, {}], {}],
    // one block of the picture's rows is there; its three pages and 64 tokens are to come
    [
      'beside what a prefill has yet to take',
      1 + 4 + 1 + 2,
      [{ promptTokens: 80, pictures: [picture(0, 16, 0, 3)] }],
      {},
    ],
    [
      'beside what compressing another’s picture takes',
      2 + 1 + 5,
      [{ promptTokens: 17, pictures: [pressed] }],
      {},
    ],
    [
      'and for what compressing its picture takes',
      1 + 2 + 5,
      [{}],
      { promptTokens: 17, pictures: [pressed] },
    ],
  ])('%s', (_, blocks, before, next) => {
    expect([running(blocks, before, next), running(blocks - 1, before, next)]).toEqual([true, false]);
  });
});

describe('who was swapped out comes back', () => {
  /** Two blocks to restore, one for its next rows, and one for those of whoever runs. */
  const world = (available: number, { runners = 0, apart = 2 } = {}) => {
    const next = {
      ...{ id: 's', ready: true, swapped: true, slot: 0, table: { pages: [8, 9] } },
      ...{ blocksToRestore: () => 2, blocksToRestoreApart: apart, blocksFor: () => 1 },
      ...{ mostBlocksToRecompress: () => 0, describe: () => [], restore: vi.fn() },
    };
    const items = [next];
    const gone = () => items.pop();
    const other = { progress: { decoding: true }, mostBlocksToRecompress: () => 0 };
    const evict = vi.fn().mockReturnValueOnce(true).mockReturnValue(false);
    const state = {
      ...{ available, hasSlotFor: () => true, source: {}, cache: { evict }, waiting: { items } },
      running: { size: runners, items: Array.from({ length: runners }, () => other) },
      ...{ tailRoom: () => ({}), budget: () => ({}), blocksForNext: () => 1 },
      ...{ enterSlot: vi.fn(), swappedIn: vi.fn(gone), end: vi.fn(gone) },
    };
    const draft = newDraft(1, 9);
    return { admission: new Admission(state as unknown as SchedulerState), draft, next, state };
  };

  it.each([
    [0, 4, true],
    // one that does not fit alone never will: it is taken up to be ended
    [0, 3, true],
    // with a block to grow into for each
    [1, 6, true],
    [1, 5, false],
  ])('beside %i that run where %i blocks are there: %j', (runners, available, comes) => {
    expect(world(available, { runners }).admission.resumable !== undefined).toBe(comes);
  });

  it('with its pages, and what is cached stays where its tails may lie apart', () => {
    const { admission, draft, next, state } = world(4);
    admission.resume(draft);
    expect([next.restore.mock.calls.length, state.cache.evict.mock.calls.length]).toEqual([1, 0]);
    expect([draft.writes, draft.exhausted.size]).toEqual([[{ id: 's', pages: [8, 9] }], 0]);
    expect(state.swappedIn).toHaveBeenCalledTimes(1);
    // it has no rows yet, so it draws nothing
    expect([...draft.work.values()]).toMatchObject([{ rows: 0, samples: false }]);
  });

  it('into an emptied pool where its tails have to lie together', () => {
    const { admission, draft, next, state } = world(4, { apart: 3 });
    admission.resume(draft);
    expect([next.restore.mock.calls.length, state.cache.evict.mock.calls.length]).toEqual([1, 2]);
  });

  it('or ends, where the pool is too small for it alone', () => {
    const { admission, draft, next, state } = world(3);
    admission.resume(draft);
    expect([[...draft.exhausted.keys()], draft.writes]).toEqual([['s'], []]);
    expect([next.restore.mock.calls.length, state.end.mock.calls.length]).toEqual([0, 1]);
  });
});

describe('who was preempted', () => {
  it('is counted once with its prompt, and with the tokens that are computed again', () => {
    const scheduler = new Scheduler({ blocks: 4, maxStepTokens: 64, maxRunning: 4 });
    const named = (id: string, first: number) => {
      const ids = Array.from({ length: 15 }, (_, at) => first + at);
      scheduler.add({
        id,
        promptTokens: 15,
        pictures: [],
        maxTokens: 25,
        content: { root: ROOT, tokenIds: ids },
      });
    };
    named('old', 0);
    named('young', 100);
    const computed = new Map<string, number>();
    let repeated = 0;
    for (let planned = scheduler.plan(); planned; planned = scheduler.plan()) {
      for (const { id, start, rows } of planned.chunks) {
        const known = computed.get(id) ?? 0;
        repeated += Math.min(rows, Math.max(0, known - start));
        computed.set(id, Math.max(known, start + rows));
      }
      for (const { id } of scheduler.complete(planned, [1, 1]))
        if (computed.get(id) === 39) scheduler.finish(id);
    }
    expect(scheduler.counters.preemptions).toBeGreaterThan(0);
    expect(repeated).toBeGreaterThan(0);
    expect(scheduler.counters).toMatchObject({
      recomputedTokens: repeated,
      prefixTokens: 30,
      prefixHitTokens: 0,
    });
  });
});
