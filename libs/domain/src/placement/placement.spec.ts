import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { heldOf, requestOf, type ViewChanges, viewOf } from '../testing/worker-views.js';
import {
  canPlace,
  pagesByClass,
  place,
  type Policy,
  policyOf,
  scoreAll,
  type Scorer,
  storageClass,
} from './index.js';

const first = () => 0;
const POLICY = policyOf('cost-aware');
const idsOf = (list: readonly { worker: { record: { workerId: string } } }[]) =>
  list.map(({ worker }) => worker.record.workerId);

describe('placement', () => {
  it('puts the idle worker first and says why', () => {
    const workers = [viewOf({ id: 'a', running: 2 }), viewOf({ id: 'b' })];
    const request = requestOf({ answerTokens: 10 });
    const { picks, candidates } = place(request, workers, POLICY, 2, first);
    expect(idsOf(picks)).toEqual(['b', 'a']);
    expect(candidates).toEqual(workers);
    expect(picks[0]).toMatchObject({ costs: { prefix: 20, load: 2 }, total: 22, reason: 'load' });
  });

  it('says of each worker that is left out which filter it was', () => {
    const workers = [
      viewOf({ id: 'busy', free: 1 }),
      viewOf({ id: 'leaving', state: 'draining', free: 1 }),
      viewOf({ id: 'good' }),
      viewOf({ id: 'full', free: 2 }),
    ];
    const { picks, rejected } = place(requestOf(), workers, POLICY, 3, first);
    expect(idsOf(picks)).toEqual(['good']);
    expect(
      [...rejected].map(([{ name }, views]) => [name, views.map(({ record }) => record.workerId)]),
    ).toEqual([
      ['room', ['busy', 'full']],
      ['ready', ['leaving']],
    ]);
  });

  it('picks no more workers than may be tried', () => {
    const workers = ['a', 'b', 'c', 'd'].map((id) => viewOf({ id }));
    expect(place(requestOf(), workers, POLICY, 3, first).picks).toHaveLength(3);
    const { picks, candidates } = place(requestOf(), workers, POLICY, 0, first);
    expect([picks, candidates]).toEqual([[], workers]);
  });

  it('looks once what workers hold, and asks of each worker, and again of those that are picked', () => {
    const held = vi.fn(() => heldOf());
    const workers = ['a', 'b', 'c', 'd'].map((id) => viewOf({ id }));
    const holdings = vi.fn(() => held);
    place(requestOf({ holdings }), workers, POLICY, 1, first);
    expect(holdings).toHaveBeenCalledOnce();
    expect(held).toHaveBeenCalledTimes(5);
  });
});

describe('a request', () => {
  it('can be placed where a worker is a candidate, or will be when what stands against it has passed', () => {
    const views = fc
      .record({
        state: fc.constantFrom('ready', 'draining', 'failed'),
        reach: fc.constantFrom('open', 'reconnecting', 'unreachable'),
        isListed: fc.boolean(),
        free: fc.constantFrom(0, 100),
        capacity: fc.constantFrom(5, 100),
      })
      .map((changes) => viewOf(changes as ViewChanges));
    fc.assert(
      fc.property(fc.array(views, { maxLength: 4 }), (workers) => {
        const { candidates, rejected } = place(requestOf(), workers, POLICY, 0, first);
        const may = candidates.length > 0 || [...rejected.keys()].some(({ passes }) => passes);
        expect(canPlace(requestOf(), workers, POLICY)).toBe(may);
      }),
      { numRuns: 300, seed: 6 },
    );
  });
});

describe('the costs of a worker', () => {
  const scorer = (name: string, costs: Record<string, number>): Scorer => ({
    name,
    over: () => (worker, _held, into, at) => {
      into[at] = costs[worker.record.workerId] ?? NaN;
    },
  });
  const policy = (...scorers: [Scorer, number][]): Policy => ({
    ...POLICY,
    scorers: scorers.map(([each, weight]) => ({ scorer: each, weight })),
  });
  const two = [viewOf({ id: 'a' }), viewOf({ id: 'b' })];

  it('are added, each with its weight, those that nobody could tell with nothing', () => {
    const parts = policy([scorer('one', { a: 5, b: 9 }), 2], [scorer('two', { b: 1 }), 1]);
    const { scored } = scoreAll(requestOf(), two, parts);
    expect(scored).toMatchObject([
      { costs: { one: 10 }, total: 10 },
      { costs: { one: 18, two: 1 }, total: 19 },
    ]);
    expect(scored[0]?.costs).not.toHaveProperty('two');
  });

  it('leave out what is weighted with 0 and what makes no difference', () => {
    const silent: Scorer = { name: 'silent', over: () => undefined };
    const never = vi.fn();
    const { scored } = scoreAll(requestOf(), two, policy([silent, 1], [{ name: 'off', over: never }, 0]));
    expect([scored[0]?.costs, never.mock.calls]).toEqual([{}, []]);
  });

  it.each<[string, [Scorer, number][], string]>([
    [
      'by which it is the furthest below the mean',
      [
        [scorer('x', { a: 10, b: 40 }), 1],
        [scorer('y', { a: 0, b: 9 }), 1],
      ],
      'x',
    ],
    [
      'as it is weighted',
      [
        [scorer('x', { a: 10, b: 40 }), 1],
        [scorer('y', { a: 0, b: 9 }), 9],
      ],
      'y',
    ],
    [
      'although another speaks against it',
      [
        [scorer('x', { a: 90, b: 0 }), 1],
        [scorer('y', { a: 0, b: 100 }), 1],
      ],
      'y',
    ],
    ['unless all cost the same', [[scorer('x', { a: 5, b: 5 }), 1]], 'even'],
    ['or there is none', [], 'even'],
  ])('name the reason: that %s', (_what, scorers, reason) => {
    expect(place(requestOf(), two, policy(...scorers), 1, first).picks[0]).toMatchObject({
      worker: { record: { workerId: 'a' } },
      reason,
    });
  });

  it('have no reason where there was no choice', () => {
    expect(place(requestOf(), two.slice(1), POLICY, 1, first).picks[0]?.reason).toBe('only');
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
