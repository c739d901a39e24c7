import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { CacheLog } from './cache-log.js';
import type { CacheChange, CachedItem } from './cached-item.js';
import type { CacheReader } from './cache-reader.js';
import { ExpectedNames } from './expected-names.js';

/** What a worker holds, written in a log that keeps few changes. */
class Worker {
  readonly held = new Map<string, CachedItem>();
  readonly log: CacheLog;
  /** What requests have yet to store, by request, one chain each. */
  readonly expected = new Map<string, string[]>();

  constructor(kept: number) {
    this.log = new CacheLog(kept);
    this.log.addSource(() => this.held.values());
  }

  store(name: string): void {
    if (this.held.has(name)) return;
    this.held.set(name, { name, kind: 'text', tokens: 16, pages: 8 });
    for (const names of this.expected.values()) names.splice(0, names.indexOf(name) + 1);
    this.log.stored(name, 'text', 16, 8);
  }

  /** A request that stores this name and then the next two. */
  expect(name: string): void {
    const names = [0, 1, 2].map((more) => `n${Number(name.slice(1)) + more}`);
    const request = `${this.expected.size}`;
    this.expected.set(request, names);
    this.log.expected(request, [names]);
  }

  /** Of the requests that are there the first that expects this name. */
  end(name: string): void {
    const request = [...this.expected].find(([, names]) => names.includes(name))?.[0];
    if (request === undefined) return;
    this.expected.get(request)?.splice(0);
    this.log.ended(request);
  }

  get coming(): ReadonlySet<string> {
    return new Set([...this.expected.values()].flat());
  }

  remove(name: string): void {
    if (this.held.delete(name)) this.log.removed(name);
  }

  /** As a cache in order of use does. */
  moveToEnd(name: string): void {
    const item = this.held.get(name);
    if (!item) return;
    this.held.delete(name);
    this.held.set(name, item);
  }
}

/** What a router makes of what it is told. */
class Router {
  readonly held = new Set<string>();
  readonly coming = new Set<string>();
  #reader: CacheReader;
  /** The newest change that it knows of the worker process whose log it reads. */
  #known: number | undefined;

  constructor(private worker: Worker) {
    this.#reader = worker.log.read();
  }

  /** False when there was nothing to hear. */
  hear(most: number): boolean {
    const batch = this.#reader.next(most);
    if (!batch) return false;
    if (batch.cleared) for (const known of [this.held, this.coming]) known.clear();
    this.#known = batch.complete ? batch.sequence : undefined;
    expect(batch.changes.length).toBeLessThanOrEqual(most);
    for (const change of batch.changes) this.#change(change);
    return true;
  }

  #change(change: CacheChange): void {
    if (change.kind === 'stored') {
      this.held.add(change.item.name);
      this.coming.delete(change.item.name);
    } else if (change.kind === 'removed') this.held.delete(change.name);
    else if (change.kind === 'coming') this.coming.add(change.name);
    else this.coming.delete(change.name);
  }

  reconnect(): void {
    this.#reader = this.worker.log.read(this.#known);
  }

  meet(worker: Worker): void {
    this.worker = worker;
    this.#known = undefined;
    this.#reader = worker.log.read();
  }

  get gaps(): number {
    return this.#reader.gaps;
  }

  get isComplete(): boolean {
    return this.#reader.isComplete;
  }
}

const name = fc.integer({ min: 0, max: 12 }).map((id) => `n${id}`);
const action = fc.oneof(
  { weight: 6, arbitrary: fc.record({ act: fc.constant('store' as const), name }) },
  { weight: 4, arbitrary: fc.record({ act: fc.constant('remove' as const), name }) },
  { weight: 4, arbitrary: fc.record({ act: fc.constant('expect' as const), name }) },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('end' as const), name }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('moveToEnd' as const), name }) },
  {
    weight: 6,
    arbitrary: fc.record({ act: fc.constant('hear' as const), most: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('reconnect' as const) }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('restart' as const) }) },
);

describe('a reader of a cache log', () => {
  it('knows exactly what is held and what is coming, whatever the interleaving, the gaps and the restarts', () => {
    let gaps = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(action, { maxLength: 80 }), (kept, actions) => {
        let worker = new Worker(kept);
        const router = new Router(worker);
        for (const step of actions) {
          if (step.act === 'hear') router.hear(step.most);
          else if (step.act === 'reconnect') router.reconnect();
          else if (step.act === 'restart') router.meet((worker = new Worker(kept)));
          else worker[step.act](step.name);
        }
        for (let heard = 0; router.hear(2); heard += 1) expect(heard).toBeLessThan(100);
        gaps += router.gaps;
        expect(router.isComplete).toBe(true);
        expect([...router.held].sort()).toEqual([...worker.held.keys()].sort());
        expect([...router.coming].sort()).toEqual([...worker.coming].sort());
      }),
      { numRuns: 2_000, seed: 17 },
    );
    expect(gaps).toBeGreaterThan(50);
  });

  it('goes on where it was, while the changes since are kept', () => {
    const worker = new Worker(4);
    worker.store('before anybody reads');
    const first = worker.log.read();
    expect(first.next(10)).toMatchObject({ cleared: true, complete: true, sequence: 1 });
    for (const at of [2, 3, 4, 5]) worker.store(`n${at}`);
    const again = worker.log.read(1);
    expect(again.next(3)).toMatchObject({ cleared: false, complete: true, sequence: 4 });
    expect(again.next(3)?.changes).toHaveLength(1);
    expect(again.next(3)).toBeUndefined();
    expect([again.gaps, first.gaps]).toEqual([0, 0]);
    worker.store('n6');
    expect(worker.log.read(1).next(10)).toMatchObject({ cleared: true });
  });

  it('takes a number that the log never gave for another log’s', () => {
    const worker = new Worker(4);
    worker.store('n1');
    expect(worker.log.read(7).next(10)).toMatchObject({ cleared: true, complete: true, sequence: 1 });
  });

  it('is told all there is in pieces, and when that is all', () => {
    const worker = new Worker(4);
    for (const at of [1, 2, 3, 4]) worker.store(`n${at}`);
    const reader = worker.log.read();
    const told = [reader.next(2), reader.next(2), reader.next(2), reader.next(2)];
    expect(told.map((batch) => [batch?.changes.length, batch?.complete])).toEqual([
      [2, false],
      [2, false],
      [0, true],
      [undefined, undefined],
    ]);
  });
});

it('a log counts what nobody reads, and keeps none of it', () => {
  const worker = new Worker(4);
  for (const at of [1, 2, 3]) worker.store(`n${at}`);
  worker.log.read();
  expect([worker.log.sequence, worker.log.since(2, 5), worker.log.since(3, 5)]).toEqual([3, undefined, []]);
});

describe('what is coming', () => {
  it('is told at once, and withdrawn with the last request that would store it', () => {
    const { log } = new Worker(9);
    let told = 0;
    const unheard = log.onExpected(() => (told += 1));
    log.expected('a', [['features', 'span'], ['other']]);
    log.expected('b', [['features', 'span']]);
    expect([told, [...log.changes()].map(({ kind }) => kind)]).toEqual([1, ['coming', 'coming', 'coming']]);
    const reader = log.read();
    reader.next(9);
    unheard();
    log.ended('a');
    log.expected('c', [['third']]);
    log.ended('a');
    log.ended('b');
    expect(told).toBe(1);
    expect(reader.next(9)?.changes).toEqual([
      { kind: 'withdrawn', name: 'other' },
      { kind: 'coming', name: 'third' },
      { kind: 'withdrawn', name: 'features' },
      { kind: 'withdrawn', name: 'span' },
    ]);
  });

  it('is over for what is stored before it, as features that were there already', () => {
    const worker = new Worker(9);
    worker.log.expected('a', [['n0', 'n1'], ['n2']]);
    worker.store('n1');
    worker.log.ended('a');
    const reader = worker.log.read();
    expect(reader.next(9)?.changes).toMatchObject([{ kind: 'stored', item: { name: 'n1' } }]);
  });

  it('is bounded: what comes beyond is told when it is there', () => {
    const names = new ExpectedNames(3);
    expect(names.expect('a', [['n0', 'n1']])).toEqual(['n0', 'n1']);
    expect(names.expect('b', [['n2', 'n3']])).toEqual([]);
    expect([names.ended('b'), [...names]]).toEqual([[], ['n0', 'n1']]);
    expect(names.expect('c', [['n1']])).toEqual([]);
    expect([names.ended('a'), names.ended('c'), [...names]]).toEqual([['n0'], ['n1'], []]);
  });
});
