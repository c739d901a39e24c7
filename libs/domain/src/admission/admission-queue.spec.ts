import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AdmissionKey, AdmissionQueue } from './index.js';

const key = (modelId: string, tenant = 't'): AdmissionKey => ({ modelId, tenant });
const limits = { entriesPerLine: 3, waitMs: 100 };
const never = Infinity;

/** A queue with these requests, each of its own model and named by its place. */
function queueOf(...models: string[]): AdmissionQueue {
  const queue = new AdmissionQueue(limits);
  models.forEach((model, id) => expect(queue.enter(id, key(model), never, 0)).toBeUndefined());
  return queue;
}

describe('the admission queue', () => {
  it('lets the oldest try, and the next one when it has left', () => {
    const queue = queueOf('m', 'm');
    expect([queue.next(0), queue.next(0)]).toEqual([0, undefined]);
    expect(queue.leave(0)).toBe(true);
    expect([queue.next(0), queue.leave(0)]).toEqual([1, false]);
  });

  it('keeps whoever found no room at the head until something changes', () => {
    const queue = queueOf('m', 'm');
    queue.next(0);
    queue.blocked(0);
    expect(queue.next(0)).toBeUndefined();
    queue.wake();
    expect(queue.next(0)).toBe(0);
  });

  it('lets the head try again when something changed while it tried', () => {
    const queue = queueOf('m');
    queue.next(0);
    queue.wake();
    queue.blocked(0);
    expect(queue.next(0)).toBe(0);
    queue.blocked(0);
    expect(queue.next(0)).toBeUndefined();
  });

  it('lets no head of one model or tenant stand in the way of others', () => {
    const queue = queueOf('large', 'large', 'small');
    expect(queue.enter(3, key('large', 'u'), never, 0)).toBeUndefined();
    expect([queue.next(0), queue.next(0), queue.next(0), queue.next(0)]).toEqual([0, 2, 3, undefined]);
    queue.blocked(0);
    queue.leave(2);
    expect(queue.enter(4, key('small'), never, 0)).toBeUndefined();
    expect(queue.next(0)).toBe(4);
  });

  it('keeps models and tenants apart whatever they are called', () => {
    const queue = new AdmissionQueue({ entriesPerLine: 1, waitMs: 1 });
    expect(queue.enter(0, key('a","b', 'c'), never, 0)).toBeUndefined();
    expect(queue.enter(1, key('a', 'b","c'), never, 0)).toBeUndefined();
  });

  it('gives lines turns', () => {
    const queue = queueOf('a', 'a', 'b', 'b', 'a');
    const order: (number | undefined)[] = [];
    for (let id = queue.next(0); id !== undefined; id = queue.next(0)) {
      order.push(id);
      queue.leave(id);
    }
    expect(order).toEqual([0, 2, 1, 3, 4]);
  });

  it('puts a line that comes back behind those that wait', () => {
    const queue = queueOf('a');
    queue.next(0);
    queue.leave(0);
    for (const [id, model] of [...'ba'].entries()) queue.enter(10 + id, key(model), never, 0);
    expect([queue.next(0), queue.next(0)]).toEqual([10, 11]);
  });

  it('goes on behind a head that left, whether it was trying or blocked', () => {
    const queue = queueOf('m', 'm', 'm');
    queue.next(0);
    queue.leave(0);
    expect(queue.next(0)).toBe(1);
    queue.blocked(0);
    queue.blocked(1);
    queue.leave(1);
    expect(queue.next(0)).toBe(2);
  });

  it('leaves a blocked head alone when somebody behind it goes', () => {
    const queue = queueOf('m', 'm');
    queue.next(0);
    queue.blocked(0);
    queue.leave(1);
    expect(queue.next(0)).toBeUndefined();
  });

  it('rejects what finds its line full, and nobody of another line', () => {
    const queue = queueOf('m', 'm', 'm');
    expect(queue.enter(3, key('m'), never, 0)).toBe('line-full');
    expect(queue.enter(4, key('n'), never, 0)).toBeUndefined();
    expect(queue.size).toBe(4);
    queue.leave(1);
    expect(queue.enter(5, key('m'), never, 0)).toBeUndefined();
  });

  it('says of whoever waited as long as anybody may that it did, also at its own deadline', () => {
    const queue = new AdmissionQueue(limits);
    queue.enter(0, key('m'), limits.waitMs, 0);
    expect(queue.expire(limits.waitMs)).toEqual([{ id: 0, cause: 'waited' }]);
  });

  it('rejects what comes too late, and evicts what waits too long or until its deadline', () => {
    const queue = queueOf('m', 'm');
    expect(queue.enter(2, key('n'), 50, 50)).toBe('deadline');
    expect(queue.enter(2, key('n'), 51, 50)).toBeUndefined();
    expect(queue.nextExpiryMs).toBe(51);
    expect(queue.expire(50)).toEqual([]);
    expect(queue.expire(51)).toEqual([{ id: 2, cause: 'deadline' }]);
    expect(queue.nextExpiryMs).toBe(100);
    expect(queue.next(100)).toBeUndefined();
    expect(queue.expire(100)).toEqual([0, 1].map((id) => ({ id, cause: 'waited' })));
    expect([queue.size, queue.nextExpiryMs]).toEqual([0, undefined]);
  });
});

/** What the queue is to be, in the plainest way: one list. */
interface Request {
  readonly id: number;
  readonly line: number;
  readonly leaveByMs: number;
}

type Command =
  | { readonly do: 'enter'; readonly line: number; readonly deadlineMs: number }
  | { readonly do: 'next' | 'wake' }
  | { readonly do: 'block' | 'admit' | 'leave'; readonly which: number }
  | { readonly do: 'pass'; readonly ms: number };

class Run {
  readonly queue = new AdmissionQueue({ entriesPerLine: 4, waitMs: 50 });
  waiting: Request[] = [];
  readonly trying = new Set<number>();
  readonly blocked = new Set<number>();
  readonly woken = new Set<number>();
  ended = 0;
  entered = 0;
  nowMs = 0;

  do(command: Command): void {
    switch (command.do) {
      case 'enter':
        return this.enter(command.line, this.nowMs + command.deadlineMs);
      case 'next':
        return this.next();
      case 'wake':
        this.queue.wake();
        this.blocked.clear();
        return this.trying.forEach((id) => this.woken.add(id));
      case 'block':
        return this.block([...this.trying][command.which % Math.max(1, this.trying.size)]);
      case 'admit':
        return this.leave([...this.trying][command.which % Math.max(1, this.trying.size)]);
      case 'leave':
        return this.leave(this.waiting[command.which % Math.max(1, this.waiting.length)]?.id);
      case 'pass':
        return this.pass(command.ms);
    }
  }

  enter(line: number, deadlineMs: number): void {
    const id = this.entered++;
    const inLine = this.waiting.filter((request) => request.line === line).length;
    const rejection = this.queue.enter(id, key(`m${line % 2}`, `t${line >> 1}`), deadlineMs, this.nowMs);
    expect(rejection).toBe(deadlineMs <= this.nowMs ? 'deadline' : inLine >= 4 ? 'line-full' : undefined);
    if (rejection) this.ended += 1;
    else this.waiting.push({ id, line, leaveByMs: Math.min(deadlineMs, this.nowMs + 50) });
  }

  /** Heads that may try: of each line the oldest, unless it tries, is blocked or its time is up. */
  get candidates(): number[] {
    const heads = [0, 1, 2, 3].map((line) => this.waiting.find((request) => request.line === line));
    return heads
      .filter((head) => head && !this.trying.has(head.id) && !this.blocked.has(head.id))
      .flatMap((head) => (head && head.leaveByMs > this.nowMs ? [head.id] : []));
  }

  next(): void {
    const { candidates } = this;
    const id = this.queue.next(this.nowMs);
    if (candidates.length === 0) return expect(id).toBeUndefined();
    expect(candidates).toContain(id);
    this.trying.add(id as number);
    this.woken.delete(id as number);
  }

  block(id: number | undefined): void {
    if (id === undefined) return;
    this.queue.blocked(id);
    this.trying.delete(id);
    if (!this.woken.delete(id)) this.blocked.add(id);
  }

  leave(id: number | undefined): void {
    if (id === undefined) return;
    expect(this.queue.leave(id)).toBe(true);
    this.forget(id);
  }

  forget(id: number): void {
    this.waiting = this.waiting.filter((request) => request.id !== id);
    for (const set of [this.trying, this.blocked, this.woken]) set.delete(id);
    this.ended += 1;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    const due = this.waiting.filter(({ leaveByMs }) => leaveByMs <= this.nowMs).map(({ id }) => id);
    expect(this.queue.expire(this.nowMs).map(({ id }) => id)).toEqual(due);
    due.forEach((id) => {
      this.forget(id);
    });
  }

  check(): void {
    expect(this.queue.size).toBe(this.waiting.length);
    expect(this.ended + this.waiting.length).toBe(this.entered);
    const next = this.waiting.map(({ leaveByMs }) => leaveByMs);
    expect(this.queue.nextExpiryMs).toBe(next.length === 0 ? undefined : Math.min(...next));
  }
}

describe('the admission queue against a list', () => {
  const which = fc.nat(20);
  const command: fc.Arbitrary<Command> = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('enter'), line: fc.nat(3), deadlineMs: fc.nat(120) }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('next', 'next', 'wake') }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('block', 'admit', 'leave'), which }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('pass'), ms: fc.nat(30) }) },
  );

  it('offers the oldest of each line, loses nobody and keeps its bounds, whatever comes in which order', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
        const run = new Run();
        for (const each of commands) {
          run.do(each);
          run.check();
        }
        run.pass(1_000);
        expect([run.queue.size, run.queue.next(run.nowMs)]).toEqual([0, undefined]);
      }),
      { numRuns: 500, seed: 11 },
    );
  });

  it('gives every line a turn after a wake, before any has a second one', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { minLength: 1, maxLength: 20 }), (lines) => {
        const queue = new AdmissionQueue({ entriesPerLine: 20, waitMs: 50 });
        lines.forEach((line, id) => queue.enter(id, key(`m${line}`), never, 0));
        for (let round = 0; round < 2; round += 1) {
          const seen: number[] = [];
          for (let id = queue.next(0); id !== undefined; id = queue.next(0)) {
            seen.push(lines[id] ?? -1);
            queue.blocked(id);
          }
          expect(seen.toSorted()).toEqual([...new Set(lines)].toSorted());
          queue.wake();
        }
      }),
      { numRuns: 100, seed: 12 },
    );
  });
});
