import { describe, expect, it, vi } from 'vitest';
import { pagesByClass, place, type Plugins, PLUGINS, storageClass } from './index.js';
import { requestOf, viewOf } from '../testing/worker-views.js';

const first = () => 0;
const idsOf = (list: readonly { worker: { record: { workerId: string } } }[]) =>
  list.map(({ worker }) => worker.record.workerId);

describe('placement', () => {
  it('puts the idle worker first and says why', () => {
    const workers = [viewOf({ id: 'a', running: 2 }), viewOf({ id: 'b' })];
    const { picks, scored } = place(requestOf(), workers, PLUGINS, 2, first);
    expect(idsOf(picks)).toEqual(['b', 'a']);
    expect(idsOf(scored)).toEqual(['a', 'b']);
    expect(picks[0]?.scores).toEqual({ 'least-loaded': 0.95 });
  });

  it('says of each worker that is left out which filter it was', () => {
    const workers = [
      viewOf({ id: 'busy', free: 1 }),
      viewOf({ id: 'leaving', state: 'draining', free: 1 }),
      viewOf({ id: 'good' }),
    ];
    const { picks, rejected } = place(requestOf(), workers, PLUGINS, 3, first);
    expect(idsOf(picks)).toEqual(['good']);
    expect(rejected.map(({ worker, filter }) => [worker.record.workerId, filter.name])).toEqual([
      ['busy', 'room'],
      ['leaving', 'ready'],
    ]);
  });

  it('averages the scorers that could tell', () => {
    const scorers = [
      { name: 'one', score: () => 0.5 },
      { name: 'unknown', score: () => undefined },
      { name: 'two', score: () => 1 },
    ];
    const plugins: Plugins = { ...PLUGINS, scorers };
    const [pick] = place(requestOf(), [viewOf()], plugins, 1, first).picks;
    expect(pick).toMatchObject({ scores: { one: 0.5, two: 1 }, total: 0.75 });
    const unknown: Plugins = { ...PLUGINS, scorers: scorers.slice(1, 2) };
    expect(place(requestOf(), [viewOf()], unknown, 1, first).picks[0]).toMatchObject({
      scores: {},
      total: 0,
    });
  });

  it('picks no more workers than may be tried', () => {
    const workers = ['a', 'b', 'c', 'd'].map((id) => viewOf({ id }));
    expect(place(requestOf(), workers, PLUGINS, 3, first).picks).toHaveLength(3);
    expect(place(requestOf(), workers, PLUGINS, 0, first).picks).toHaveLength(0);
  });
});

describe('storage classes', () => {
  const shape = { blockTokens: 16, pagesPerBlock: 8, pageBytes: 1_024, codec: 'raw', formats: [] };
  const format = {
    codec: 'q8',
    tokens: 0,
    profileId: 'p',
    markerRows: [],
    pages: 0,
    headerBytes: 0,
    bytesPerToken: 3,
  };

  it('are equal where everything is that pages depend on', () => {
    expect(storageClass({ ...shape, formats: [] })).toBe(storageClass(shape));
  });

  it.each([
    ['block', { blockTokens: 32 }],
    ['pages of a block', { pagesPerBlock: 4 }],
    ['page', { pageBytes: 2_048 }],
    ['codec', { codec: 'q8' }],
    ['formats', { formats: [format] }],
  ])('differ by %s', (_name, change) => {
    expect(storageClass({ ...shape, ...change })).not.toBe(storageClass(shape));
  });

  it('are counted once each', () => {
    const pagesOn = vi.fn((worker: ReturnType<typeof viewOf>) => worker.record.capacityPages);
    const pages = pagesByClass(pagesOn);
    const views = [
      viewOf({ storageClass: 'a', capacity: 1 }),
      viewOf({ storageClass: 'b', capacity: 2 }),
      viewOf({ storageClass: 'a', capacity: 1 }),
    ];
    expect(views.map(pages)).toEqual([1, 2, 1]);
    expect(views.map(pages)).toEqual([1, 2, 1]);
    expect(pagesOn).toHaveBeenCalledTimes(2);
  });
});
