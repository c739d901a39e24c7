import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { WorkerLoad, WorkerRecord } from '../registry/index.js';
import { POLICIES, eligible, rank, type WorkerView } from './index.js';

interface Worker {
  id?: string;
  modelId?: string;
  state?: WorkerLoad['state'];
  running?: number;
  waiting?: number;
  free?: number;
  capacity?: number;
  codecs?: readonly string[];
  ownRequests?: number;
  ownPages?: number;
}

function viewOf({
  id = 'w',
  modelId = 'm',
  state = 'ready',
  running = 0,
  waiting = 0,
  ...w
}: Worker): WorkerView {
  const { capacity = 100, free = 100, ownRequests = 0, ownPages = 0, codecs = ['raw'] } = w;
  const load = { state, running, waiting, freePages: free };
  const record = { workerId: id, modelId, capacityPages: capacity, codecs, load } as unknown as WorkerRecord;
  return { record, ownRequests, ownPages };
}

const request = { modelId: 'm', pagesOn: () => 10 };

describe('placement', () => {
  it('leaves out workers that are not ready, serve another model or are too small', () => {
    const workers = [
      viewOf({ id: 'draining', state: 'draining' }),
      viewOf({ id: 'failed', state: 'failed' }),
      viewOf({ id: 'other', modelId: 'n' }),
      viewOf({ id: 'small', capacity: 9, free: 9 }),
      viewOf({ id: 'good', capacity: 10, free: 10 }),
    ];
    expect(eligible(request, workers).map((w) => w.record.workerId)).toEqual(['good']);
  });

  it('leaves out workers that do not serve the codec that is asked for', () => {
    const workers = [viewOf({ id: 'raw' }), viewOf({ id: 'both', codecs: ['raw', 'q8'] })];
    const ids = (kvCodec?: string) =>
      eligible({ ...request, kvCodec }, workers).map((w) => w.record.workerId);
    expect([ids('q8'), ids('raw'), ids(), ids('q4')]).toEqual([
      ['both'],
      ['raw', 'both'],
      ['raw', 'both'],
      [],
    ]);
  });

  it('puts the idle worker first and says why', () => {
    const ranked = rank(request, [viewOf({ id: 'a', running: 2 }), viewOf({ id: 'b' })], POLICIES);
    expect(ranked.map((w) => w.worker.record.workerId)).toEqual(['b', 'a']);
    expect(ranked[0]?.scores).toEqual({ 'least-loaded': 0.95 });
  });

  it('averages the policies that could tell', () => {
    const policies = [
      { name: 'one', score: () => 0.5 },
      { name: 'unknown', score: () => undefined },
      { name: 'two', score: () => 1 },
    ];
    expect(rank(request, [viewOf({})], policies)[0]).toMatchObject({
      scores: { one: 0.5, two: 1 },
      total: 0.75,
    });
  });

  it('does not depend on the order of the snapshot, and scores stay in [0, 1]', () => {
    const worker = fc.record({
      id: fc.uuid(),
      running: fc.nat(50),
      waiting: fc.nat(50),
      capacity: fc.integer({ min: 10, max: 500 }),
      free: fc.nat(600),
      ownRequests: fc.nat(50),
      ownPages: fc.nat(600),
    });
    fc.assert(
      fc.property(fc.uniqueArray(worker, { selector: (w) => w.id, maxLength: 6 }), (workers) => {
        const views = workers.map(viewOf);
        const ids = (list: typeof views) =>
          rank(request, list, POLICIES).map((w) => w.worker.record.workerId);
        expect(ids(views)).toEqual(ids(views.toReversed()));
        for (const { total } of rank(request, views, POLICIES)) expect(total >= 0 && total <= 1).toBe(true);
      }),
      { numRuns: 100, seed: 5 },
    );
  });
});
