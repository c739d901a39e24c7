import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdmissionQueue, type Ask, PLAIN_TERMS } from './index.js';

const ENTRIES = 6;
const BYTES = 40;
const WAIT_MS = 50;
const CAP_PAGES = 8;
const TENANTS = ['a', 'b', 'capped'];

interface Waiting {
  readonly ask: Ask;
  readonly leaveByMs: number;
}

type Command =
  | {
      readonly do: 'enter';
      readonly ask: Pick<Ask, 'work' | 'bytes' | 'priority'>;
      readonly model: number;
      readonly tenant: number;
      readonly lastsMs: number;
    }
  | { readonly do: 'next' | 'wake' }
  | { readonly do: 'block' | 'admit' | 'leave' | 'finish'; readonly which: number }
  | { readonly do: 'pass'; readonly ms: number };

/** What is to hold of the queue, in the plainest way: lists, and everything counted anew. */
class Run {
  readonly terms = { ...PLAIN_TERMS, caps: { ...PLAIN_TERMS.caps, pages: CAP_PAGES } };
  readonly queue = new AdmissionQueue(
    { entriesPerModel: ENTRIES, bytes: BYTES, waitMs: WAIT_MS },
    new Map([['capped', this.terms]]),
  );
  readonly waiting = new Map<number, Waiting>();
  readonly trying = new Set<number>();
  readonly blocked = new Set<number>();
  readonly woken = new Set<number>();
  readonly running: Ask[] = [];
  entered = 0;
  ended = 0;
  nowMs = 0;

  do(command: Command): void {
    switch (command.do) {
      case 'enter':
        return this.enter(command);
      case 'next':
        return void this.next();
      case 'wake':
        return this.wake();
      case 'block':
        return this.block(pick([...this.trying], command.which));
      case 'admit':
        return this.admit(pick([...this.trying], command.which));
      case 'leave':
        return this.leave(pick([...this.waiting.keys()], command.which));
      case 'finish':
        return this.finish(command.which);
      case 'pass':
        return this.pass(command.ms);
    }
  }

  enter({ ask, model, tenant, lastsMs }: Command & { do: 'enter' }): void {
    const id = this.entered++;
    const pages = tenant === 2 ? 1 + (ask.work % CAP_PAGES) : 0;
    const full: Ask = {
      ...ask,
      ...{ modelId: `m${model}`, tenant: TENANTS[tenant] ?? '', pages, isCharged: false },
      ...{ arrivedMs: this.nowMs, deadlineMs: this.nowMs + lastsMs },
    };
    const { refusal, shed } = this.queue.enter(id, full, this.nowMs);
    for (const each of shed) {
      expect(this.trying.has(each.id)).toBe(false);
      this.forget(each.id);
    }
    if (refusal) this.ended += 1;
    else this.waiting.set(id, { ask: full, leaveByMs: Math.min(full.deadlineMs, this.nowMs + WAIT_MS) });
  }

  wake(): void {
    this.queue.wake();
    this.blocked.clear();
    this.trying.forEach((id) => this.woken.add(id));
  }

  /** Of each line the foremost that does not try, unless it found no room. */
  get candidates(): number[] {
    const lines = Map.groupBy(this.waiting, ([, { ask }]) => `${ask.modelId} ${ask.tenant}`);
    return [...lines.values()].flatMap((line) => {
      const [first] = line
        .filter(([id, { leaveByMs }]) => !this.trying.has(id) && leaveByMs > this.nowMs)
        .sort(([one, { ask }], [other, { ask: next }]) => orderOf(ask) - orderOf(next) || one - other);
      if (!first || this.blocked.has(first[0])) return [];
      const { ask } = first[1];
      return ask.tenant === 'capped' && this.heldPages + ask.pages > CAP_PAGES ? [] : [first[0]];
    });
  }

  get heldPages(): number {
    const trying = [...this.trying].map((id) => this.waiting.get(id)?.ask);
    return [...trying, ...this.running].reduce((sum, ask) => sum + (ask?.pages ?? 0), 0);
  }

  next(): number | undefined {
    const { candidates } = this;
    const id = this.queue.next(this.nowMs);
    if (id === undefined) return undefined;
    expect(candidates).toContain(id);
    this.trying.add(id);
    return id;
  }

  block(id: number | undefined): void {
    if (id === undefined) return;
    this.queue.blocked(id, this.nowMs);
    this.trying.delete(id);
    if (!this.woken.delete(id)) this.blocked.add(id);
  }

  admit(id: number | undefined): void {
    if (id === undefined) return;
    const { ask } = this.waiting.get(id) as Waiting;
    expect([this.queue.admitted(id, 1, this.nowMs), this.queue.admitted(id, 1, this.nowMs)]).toEqual([
      true,
      false,
    ]);
    this.running.push(ask);
    this.forget(id);
  }

  leave(id: number | undefined): void {
    if (id === undefined) return;
    expect(this.queue.leave(id, this.nowMs)).toBe(true);
    this.forget(id);
  }

  finish(which: number): void {
    const [ask] = this.running.splice(which % Math.max(1, this.running.length), 1);
    if (ask) this.queue.accounts.of(ask.tenant).release(ask.pages);
  }

  pass(ms: number): void {
    this.nowMs += ms;
    const due = [...this.waiting].filter(([, { leaveByMs }]) => leaveByMs <= this.nowMs).map(([id]) => id);
    expect(this.queue.expire(this.nowMs).map(({ id }) => id)).toEqual(due);
    for (const id of due) this.forget(id);
  }

  forget(id: number): void {
    this.waiting.delete(id);
    for (const set of [this.trying, this.blocked, this.woken]) set.delete(id);
    this.ended += 1;
  }

  check(): void {
    const { queue, waiting } = this;
    expect([queue.size, this.ended + waiting.size]).toEqual([waiting.size, this.entered]);
    const bytes = [...waiting.values()].reduce((sum, { ask }) => sum + ask.bytes, 0);
    expect(queue.bytes).toBe(bytes);
    expect(bytes).toBeLessThanOrEqual(BYTES);
    for (const model of ['m0', 'm1'])
      expect([...waiting.values()].filter(({ ask }) => ask.modelId === model).length).toBeLessThanOrEqual(
        ENTRIES,
      );
    expect(queue.accounts.of('capped').pages).toBe(this.heldPages);
    expect(this.heldPages).toBeLessThanOrEqual(CAP_PAGES);
    const leaves = [...waiting.values()].map(({ leaveByMs }) => leaveByMs);
    expect(queue.nextExpiryMs).toBe(leaves.length === 0 ? undefined : Math.min(...leaves));
  }

  /** Whoever may try does when nobody tries and something has changed. */
  checkGoesOn(): void {
    for (const id of [...this.trying]) this.block(id);
    this.wake();
    if (this.candidates.length > 0) expect(this.next()).toBeDefined();
  }
}

const pick = <T>(from: readonly T[], which: number): T | undefined => from[which % Math.max(1, from.length)];
const orderOf = ({ arrivedMs, priority }: Ask) => arrivedMs + 1_000 * Math.min(10, Math.max(-10, priority));

const which = fc.nat(20);
const ask = fc.record({
  work: fc.integer({ min: 1, max: 30 }),
  bytes: fc.nat(15),
  priority: fc.integer({ min: -20, max: 20 }),
});
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('enter'),
      ask,
      model: fc.nat(1),
      tenant: fc.nat(2),
      lastsMs: fc.nat(120),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('next', 'next', 'wake') }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('block', 'admit', 'leave', 'finish'), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pass'), ms: fc.nat(30) }) },
);

describe('the admission queue against lists', () => {
  it('loses nobody, lets nobody in twice, keeps its bounds and caps, and goes on, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 100 }), (commands) => {
        const run = new Run();
        for (const each of commands) {
          run.do(each);
          run.check();
        }
        run.checkGoesOn();
        run.pass(1_000);
        expect([run.queue.size, run.queue.bytes, run.queue.next(run.nowMs)]).toEqual([0, 0, undefined]);
        while (run.running.length > 0) run.finish(0);
        expect(run.queue.accounts.of('capped').pages).toBe(0);
      }),
      { numRuns: 1_000, seed: 11 },
    );
  });
});

/** A queue whose only bounds are those that a test is about. */
const wide = (weights: Readonly<Record<string, number>> = {}) =>
  new AdmissionQueue(
    { entriesPerModel: 10_000, bytes: Infinity, waitMs: 1e9 },
    new Map(Object.entries(weights).map(([name, weight]) => [name, { ...PLAIN_TERMS, weight }])),
  );
const plain = (more: Partial<Ask>): Ask => ({
  ...{ modelId: 'm', tenant: 't', work: 1, isCharged: false, priority: 0, bytes: 0, pages: 0 },
  ...{ arrivedMs: 0, deadlineMs: Infinity },
  ...more,
});

describe('fairness', () => {
  const weights = { a: 1, b: 2, c: 0.5 };
  type Name = keyof typeof weights;
  const names = fc.constantFrom<Name>('a', 'b', 'c');
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.tuple(names, fc.integer({ min: 1, max: 50 })) },
    { weight: 2, arbitrary: fc.constant('serve' as const) },
  );

  it('serves tenants that both wait alike by weight, within twice the largest request, whatever arrives', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const queue = wide(weights);
        const asks: (readonly [Name, number])[] = [];
        const waiting = { a: 0, b: 0, c: 0 };
        const served = { a: 0, b: 0, c: 0 };
        // differences of each pair since both wait: least and most
        const spans = new Map<string, { least: number; most: number }>();
        const pairs: [Name, Name][] = [
          ['a', 'b'],
          ['a', 'c'],
          ['b', 'c'],
        ];
        for (const each of steps) {
          if (each === 'serve') {
            const id = queue.next(0);
            if (id === undefined) continue;
            const [name, work] = asks[id] as [Name, number];
            queue.admitted(id, 1, 0);
            waiting[name] -= 1;
            served[name] += work / weights[name];
          } else {
            queue.enter(asks.length, plain({ tenant: each[0], work: each[1] }), 0);
            asks.push(each);
            waiting[each[0]] += 1;
          }
          for (const [one, other] of pairs) {
            const pair = one + other;
            if (waiting[one] === 0 || waiting[other] === 0) {
              spans.delete(pair);
              continue;
            }
            const difference = served[one] - served[other];
            const span = spans.get(pair) ?? { least: difference, most: difference };
            span.least = Math.min(span.least, difference);
            span.most = Math.max(span.most, difference);
            spans.set(pair, span);
            const largest = Math.max(50 / weights[one], 50 / weights[other]);
            expect(span.most - span.least).toBeLessThanOrEqual(2 * largest);
          }
        }
      }),
      { numRuns: 500, seed: 12 },
    );
  });

  it('lets no more past a request that finds no room than its own work and one more', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 200, maxLength: 200 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 30, max: 100 }), (smalls, work) => {
        const queue = wide();
        const room = 100;
        const running: number[] = [];
        const used = () => running.reduce((sum, each) => sum + each, 0);
        const works = [...smalls, work];
        smalls.forEach((each, id) => queue.enter(id, plain({ tenant: `small${id % 3}`, work: each }), 0));
        const fill = (): boolean => {
          for (let id = queue.next(0); id !== undefined; id = queue.next(0)) {
            if (used() + (works[id] ?? 0) > room) {
              queue.blocked(id, 0);
              continue;
            }
            queue.admitted(id, 1, 0);
            running.push(works[id] ?? 0);
            if (id === smalls.length) return true;
            if (entered) passed += works[id] ?? 0;
          }
          return false;
        };
        let entered = false;
        let passed = 0;
        fill();
        queue.enter(smalls.length, plain({ tenant: 'large', work }), 0);
        entered = true;
        while (!fill()) {
          if (running.shift() === undefined) throw new Error('nobody gets in although nothing runs');
          queue.wake();
        }
        // those of three tenants may have been before it, each by one request
        expect(passed).toBeLessThanOrEqual(work + 20 + 3 * 20);
      }),
      { numRuns: 200, seed: 13 },
    );
  });
});

describe('a wake', () => {
  it('has no more try in vain than got in and one a line', () => {
    const lines = fc.array(fc.nat(4), { minLength: 1, maxLength: 80 });
    fc.assert(
      fc.property(lines, fc.array(fc.nat(12), { minLength: 1, maxLength: 10 }), (tenants, rooms) => {
        const queue = wide();
        tenants.forEach((tenant, id) => queue.enter(id, plain({ tenant: `t${tenant}` }), 0));
        const count = new Set(tenants).size;
        let warm = false;
        for (const room of rooms) {
          let free = room;
          let vain = 0;
          queue.wake();
          // all that may try do so before the first hears of it, as over a network
          for (;;) {
            const wave: number[] = [];
            for (let id = queue.next(0); id !== undefined; id = queue.next(0)) wave.push(id);
            if (wave.length === 0) break;
            for (const id of wave) {
              if (free > 0) {
                free -= 1;
                queue.admitted(id, 1, 0);
              } else {
                vain += 1;
                queue.blocked(id, 0);
              }
            }
          }
          if (warm) expect(vain).toBeLessThanOrEqual(room + count);
          warm ||= vain > 0;
        }
      }),
      { numRuns: 300, seed: 14 },
    );
  });
});

describe('ageing', () => {
  it('lets a request be overtaken only by those of its tenant that come while waiting makes no difference', () => {
    const arrival = fc.record({ afterMs: fc.nat(5_000), priority: fc.integer({ min: -30, max: 30 }) });
    fc.assert(
      fc.property(fc.array(arrival, { maxLength: 40 }), (arrivals) => {
        const queue = wide();
        const asks: Ask[] = [];
        let nowMs = 0;
        for (const { afterMs, priority } of arrivals) {
          nowMs += afterMs;
          asks.push(plain({ priority, arrivedMs: nowMs }));
          queue.enter(asks.length - 1, plain({ priority, arrivedMs: nowMs }), nowMs);
        }
        const order: Ask[] = [];
        for (let id = queue.next(nowMs); id !== undefined; id = queue.next(nowMs)) {
          queue.admitted(id, 1, nowMs);
          order.push(asks[id] as Ask);
        }
        expect(order.length).toBe(asks.length);
        order.forEach((late, at) => {
          for (const early of order.slice(at + 1)) {
            expect(late.arrivedMs - early.arrivedMs).toBeLessThanOrEqual(20_000);
            if (late.priority >= early.priority) expect(late.arrivedMs).toBeLessThanOrEqual(early.arrivedMs);
          }
        });
      }),
      { numRuns: 200, seed: 15 },
    );
  });
});
