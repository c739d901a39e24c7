import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { summaryOf, violationsOf } from './checker.js';
import type { End, Expected, Happening } from './history.js';

const EXPECTED: ReadonlyMap<string, Expected> = new Map([
  ['a', { text: 'one two three', reason: 'stop', completionTokens: 3 }],
  ['b', { text: 'four', reason: 'length', completionTokens: 1 }],
]);
const FINISHED: End = { how: 'finished', reason: 'stop', completionTokens: 3 };

/** A request of script `a` whose answer comes in these pieces. */
const asking = (request: number, pieces: readonly string[], end?: End): Happening[] => [
  { kind: 'asked', atMs: 0, request, script: 'a' },
  ...pieces.map((text) => ({ kind: 'text', atMs: 1, request, text }) as const),
  ...(end ? [{ kind: 'ended', atMs: 2, request, end } as const] : []),
];

const sample = (epoch: number, holder: string, leases: Readonly<Record<string, number>>): Happening => ({
  kind: 'ledger',
  atMs: 0,
  ...{ workerId: 'w', epoch, holder, capacityPages: 10 },
  leases: Object.entries(leases).map(([id, pages]) => ({ id, pages })),
});

const found = (history: readonly Happening[]) => violationsOf(history, EXPECTED);

describe('the checker finds nothing in a history', () => {
  it('of whole answers, however they were cut into pieces', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 12 })), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), 13];
        const pieces = at.slice(1).map((end, i) => 'one two three'.slice(at[i], end));
        expect(found(asking(1, pieces, FINISHED))).toEqual([]);
      }),
      { seed: 1 },
    );
  });

  it('of answers that were refused or cut after a part of them', () => {
    const ends: End[] = [{ how: 'refused', code: 'worker_lost' }, { how: 'cut' }];
    for (const end of ends)
      for (const part of ['', 'one', 'one two']) expect(found(asking(1, [part], end))).toEqual([]);
  });

  it('of a worker that is full, registers again with what it runs, and is replaced', () => {
    const history = [
      sample(1, 'p', { x: 6, y: 4 }),
      sample(2, 'p', { x: 6 }),
      sample(3, 'q', { z: 10 }),
      { kind: 'emptying', atMs: 0 } as const,
      sample(3, 'q', { z: 10 }),
      sample(1, 'q', { z: 10 }),
      { kind: 'emptied', atMs: 0 } as const,
      sample(1, 'q', { z: 10 }),
      // asked for before the store was empty
      { ...sample(9, 'q', { z: 10 }), atMs: -1 },
      sample(1, 'q', { z: 10 }),
    ];
    expect(found(history)).toEqual([]);
  });
});

describe('the checker finds', () => {
  it.each([
    ['a token that is lost', ['one ', 'three']],
    ['a token that comes twice', ['one ', 'two ', 'two ', 'three']],
    ['a token that is another', ['one ', 'two ', 'tree']],
    ['a token too many', ['one two three', ' four']],
    ['an answer that lacks its end', ['one two']],
    ['an answer from its beginning again', ['one ', 'one two three']],
  ])('%s', (_, pieces) => {
    expect(found(asking(1, pieces, FINISHED))).toEqual([
      expect.stringMatching(/^request 1 \(a\): differs at/),
    ]);
  });

  it('what was wrong before an answer was refused', () => {
    expect(found(asking(1, ['one one'], { how: 'refused', code: 'worker_lost' }))).toHaveLength(1);
  });

  it('a request without an end, one that goes on after it, and answers to nothing', () => {
    expect(found(asking(1, ['one']))).toEqual(['request 1 (a): has no end']);
    expect(found(asking(1, ['one'], { how: 'lost', why: 'broke' }))).toEqual(['request 1 (a): broke']);
    const late = { kind: 'text', atMs: 3, request: 1, text: ' four' } as const;
    expect(found([...asking(1, ['one two three'], FINISHED), late])).toEqual([
      'request 1: goes on after its end',
    ]);
    expect(found([late])).toEqual(['request 1: an answer to nothing']);
  });

  it('another reason or count at the end', () => {
    const text = ['one two three'];
    expect(found(asking(1, text, { ...FINISHED, reason: 'length' }))).toEqual([
      'request 1 (a): ended by length, not stop',
    ]);
    expect(found(asking(1, text, { ...FINISHED, completionTokens: 4 }))).toEqual([
      'request 1 (a): counts 4 tokens, not 3',
    ]);
  });

  it('pages that are promised twice', () => {
    expect(found([sample(1, 'p', { x: 6, y: 5 })])).toEqual(['w: 11 pages are promised of 10 (epoch 1)']);
  });

  it('a lease that outlives its process, and an epoch that goes back', () => {
    expect(found([sample(1, 'p', { x: 1 }), sample(2, 'q', { x: 1 })])).toEqual([
      'w: lease x has outlived its process (epoch 2)',
    ]);
    expect(found([sample(2, 'p', {}), sample(1, 'q', {})])).toEqual(['w: epoch 1 follows 2']);
  });
});

it('a summary counts ends and faults', () => {
  const history = [
    ...asking(1, [], { how: 'refused', code: 'no_worker' }),
    ...asking(2, ['one two three'], FINISHED),
    { kind: 'fault', atMs: 0, what: 'kill worker 1' } as const,
    sample(1, 'p', {}),
  ];
  expect(summaryOf(history)).toEqual({ 'refused no_worker': 1, finished: 1, kill: 1, 'ledger samples': 1 });
});
