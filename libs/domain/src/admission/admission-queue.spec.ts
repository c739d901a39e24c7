import { describe, expect, it } from 'vitest';
import { AdmissionQueue, type AdmissionLimits, type Ask, PLAIN_TERMS, type TenantTerms } from './index.js';

const LIMITS: AdmissionLimits = { entriesPerModel: 3, bytes: 1_000, waitMs: 100 };
const ask = (more: Partial<Ask> = {}): Ask => ({
  ...{ modelId: 'm', tenant: 't', work: 10, isCharged: false, priority: 0, bytes: 1, pages: 0 },
  ...{ arrivedMs: 0, deadlineMs: Infinity },
  ...more,
});

const queueWith = (limits: Partial<AdmissionLimits> = {}, terms: Record<string, Partial<TenantTerms>> = {}) =>
  new AdmissionQueue(
    { ...LIMITS, ...limits },
    new Map(Object.entries(terms).map(([name, each]) => [name, { ...PLAIN_TERMS, ...each }])),
  );

/** A queue with these requests, named by their places. */
function queueOf(...asks: Partial<Ask>[]): AdmissionQueue {
  const queue = queueWith({ entriesPerModel: 20 });
  asks.forEach((each, id) => expect(queue.enter(id, ask(each), 0)).toEqual({ shed: [] }));
  return queue;
}

/** Lets in one after the other whom the queue says. */
function order(queue: AdmissionQueue): number[] {
  const ids: number[] = [];
  for (let id = queue.next(0); id !== undefined; id = queue.next(0)) {
    ids.push(id);
    queue.admitted(id, 1, 0);
  }
  return ids;
}

/** Has the queue's tries under way end without room. */
function block(queue: AdmissionQueue, ...ids: (number | undefined)[]): void {
  for (const id of ids) queue.blocked(id ?? -1, 0);
}

describe('who tries', () => {
  it('is everybody in turn while there is room, and each once', () => {
    const queue = queueOf({}, {}, {});
    expect([queue.next(0), queue.next(0), queue.next(0), queue.next(0)]).toEqual([0, 1, 2, undefined]);
    expect([queue.admitted(0, 1, 0), queue.admitted(0, 1, 0), queue.leave(0, 0)]).toEqual([
      true,
      false,
      false,
    ]);
    expect(queue.size).toBe(2);
  });

  it('is one at a time after one has found no room, and one more with each that gets in', () => {
    const queue = queueOf({}, {}, {}, {}, {});
    block(queue, queue.next(0));
    expect(queue.next(0)).toBeUndefined();
    queue.wake();
    expect([queue.next(0), queue.next(0)]).toEqual([0, undefined]);
    queue.admitted(0, 1, 0);
    expect([queue.next(0), queue.next(0), queue.next(0)]).toEqual([1, 2, undefined]);
  });

  it('is whoever found no room as soon as something changes, and at once if it did meanwhile', () => {
    const queue = queueOf({});
    queue.next(0);
    queue.wake();
    block(queue, 0);
    expect(queue.next(0)).toBe(0);
    block(queue, 0);
    expect(queue.next(0)).toBeUndefined();
  });

  it('is nobody held up by a head of another model or tenant', () => {
    const queue = queueOf({}, { tenant: 'u' }, { tenant: 'u' }, { modelId: 'n' });
    block(queue, queue.next(0));
    expect([queue.next(0), queue.next(0), queue.next(0)]).toEqual([3, 1, undefined]);
  });

  it('is the next of a line when its head leaves', () => {
    const queue = queueOf({}, {});
    block(queue, queue.next(0));
    queue.leave(0, 0);
    expect(queue.next(0)).toBe(1);
  });

  it('is only a smaller one after eight in vain', () => {
    const queue = queueOf(
      ...Array.from({ length: 10 }, (_, at) => ({ tenant: `t${at}`, work: 50 })),
      ...[{ tenant: 'small', work: 49 }],
    );
    const tried: number[] = [];
    for (let id = queue.next(0); id !== undefined && tried.length < 20; id = queue.next(0)) {
      tried.push(id);
      block(queue, id);
    }
    expect(tried).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 10]);
    queue.wake();
    expect(queue.next(0)).toBe(0);
  });
});

describe('whose turn it is', () => {
  it('is that of the tenant that was served least, by work and weight', () => {
    const queue = queueWith({ entriesPerModel: 20 }, { heavy: { weight: 2 } });
    const tenants = ['small', 'small', 'large', 'large', 'heavy', 'heavy', 'heavy', 'heavy'];
    const work = { small: 10, large: 20, heavy: 20 };
    tenants.forEach((tenant, id) =>
      queue.enter(id, ask({ tenant, work: work[tenant as keyof typeof work] }), 0),
    );
    // served over weight: small 10, large 20, heavy 10 at a time
    expect(order(queue)).toEqual([0, 2, 4, 1, 5, 3, 6, 7]);
  });

  it('is nobody’s by credit saved up while idle', () => {
    const queue = queueOf(...Array.from({ length: 6 }, () => ({ tenant: 'busy' })));
    for (const id of [0, 1, 2]) {
      queue.next(0);
      queue.admitted(id, 1, 0);
    }
    for (const id of [10, 11, 12]) queue.enter(id, ask({ tenant: 'idle' }), 0);
    expect(order(queue)).toEqual([3, 10, 4, 11, 5, 12]);
  });

  it('is nobody’s by credit saved up while everybody was idle', () => {
    const queue = queueOf({ tenant: 'a', work: 1_000 });
    expect(order(queue)).toEqual([0]);
    ['b', 'b', 'a', 'a'].forEach((tenant, id) => queue.enter(10 + id, ask({ tenant }), 0));
    expect(order(queue)).toEqual([10, 12, 11, 13]);
  });

  it('is a guest’s while no other of its tenant, for its model, was let in and has not ended', () => {
    const queue = queueOf(
      { tenant: 'a' },
      { tenant: 'a' },
      { tenant: 'b' },
      { tenant: 'a', modelId: 'other' },
    );
    const guests = new Map<number, boolean>();
    const letAllIn = () => {
      for (let id = queue.next(0); id !== undefined; id = queue.next(0)) {
        guests.set(id, queue.turn(id).isGuest);
        queue.admitted(id, 1, 0);
      }
    };
    letAllIn();
    queue.settle(ask({ tenant: 'a' }), 1, 1);
    // one whose worker failed enters again, and still counts once
    queue.enter(4, ask({ tenant: 'b', isCharged: true }), 0);
    queue.enter(5, ask({ tenant: 'a' }), 0);
    letAllIn();
    for (const tenant of ['a', 'b', 'a']) queue.settle(ask({ tenant }), 1, 1);
    for (const [index, tenant] of ['a', 'b'].entries()) queue.enter(6 + index, ask({ tenant }), 0);
    letAllIn();
    expect(Object.fromEntries(guests)).toEqual({
      ...{ 0: true, 1: false, 2: true, 3: true },
      ...{ 4: false, 5: false, 6: true, 7: true },
    });
  });

  it('is no guest’s while another of its tenant tries', () => {
    const queue = queueOf({}, {});
    const guests = [queue.next(0), queue.next(0)].map((id = -1) => queue.turn(id).isGuest);
    expect(guests).toEqual([true, false]);
    for (const id of [0, 1]) queue.blocked(id, 0);
    queue.wake();
    expect(queue.turn(queue.next(0) ?? -1).isGuest).toBe(true);
  });

  it('goes by what was served in truth once that is known', () => {
    const queue = queueOf({ tenant: 'a' }, { tenant: 'b' });
    expect(order(queue)).toEqual([0, 1]);
    // it was charged 10 and had 10 + 2 × 20
    queue.settle(ask({ tenant: 'a' }), 10, 20);
    ['b', 'a', 'b', 'b', 'a'].forEach((tenant, id) => queue.enter(10 + id, ask({ tenant }), 0));
    expect(order(queue)).toEqual([10, 12, 13, 11, 14]);
    expect(queue.expectedAnswer({ modelId: 'm', tenant: 'a' }, 1_000)).toBeLessThan(
      queue.expectedAnswer({ modelId: 'm', tenant: 'b' }, 1_000),
    );
    expect(queue.expectedAnswer({ modelId: 'm', tenant: 'a' }, 7)).toBe(7);
  });

  it('costs a request nothing that was let in before', () => {
    const queue = queueOf(
      { tenant: 'a', isCharged: true },
      { tenant: 'a' },
      { tenant: 'b' },
      { tenant: 'b' },
    );
    expect(order(queue)).toEqual([0, 1, 2, 3]);
  });

  it('takes turns among models', () => {
    const queue = queueOf({}, {}, { modelId: 'n' }, { modelId: 'n' });
    expect(order(queue)).toEqual([0, 2, 1, 3]);
  });
});

describe('priorities', () => {
  it('order a tenant’s own requests, and waiting makes up for a lower one', () => {
    const queue = queueWith({ entriesPerModel: 20, waitMs: 60_000 });
    const arrive = (id: number, priority: number, arrivedMs: number) =>
      queue.enter(id, ask({ priority, arrivedMs }), arrivedMs);
    arrive(0, 3, 0);
    arrive(1, 0, 2_999);
    arrive(2, 0, 3_001);
    arrive(3, -1, 3_500);
    arrive(4, 0, 2_999);
    expect(order(queue)).toEqual([3, 1, 4, 0, 2]);
  });

  it('are bounded, so that a request is before all that come 20 s later', () => {
    const queue = queueWith({ entriesPerModel: 20, waitMs: 60_000 });
    queue.enter(0, ask({ priority: 2 ** 31 - 1, arrivedMs: 0 }), 0);
    queue.enter(1, ask({ priority: -(2 ** 31), arrivedMs: 19_999 }), 0);
    queue.enter(2, ask({ priority: -(2 ** 31), arrivedMs: 20_001 }), 0);
    expect(order(queue)).toEqual([1, 0, 2]);
  });

  it('give nobody a turn of another tenant', () => {
    expect(order(queueOf({ tenant: 'a', priority: 9 }, { tenant: 'b' }, { tenant: 'b' }))).toEqual([0, 1, 2]);
  });
});

describe('a large request', () => {
  const smalls = Array.from({ length: 30 }, (_, id) => id + 1);

  /** Lets small ones in past a large one that finds no room; how many, until the queue waits for it. */
  function pass(queue: AdmissionQueue, nowMs = 0): number {
    let passed = 0;
    for (;;) {
      queue.wake();
      const id = queue.next(nowMs);
      if (id !== 0) throw new Error('it is the turn of the one that was served least');
      queue.blocked(0, nowMs);
      const small = queue.next(nowMs);
      if (small === undefined) return passed;
      queue.admitted(small, 1, nowMs);
      passed += 1;
    }
  }

  function crowd(): AdmissionQueue {
    const caps = { ...PLAIN_TERMS.caps, pages: 10 };
    const queue = queueWith({ entriesPerModel: 99, waitMs: 60_000 }, { large: { caps } });
    queue.enter(0, ask({ tenant: 'large', work: 100, pages: 8 }), 0);
    for (const id of smalls) queue.enter(id, ask({ tenant: 'small', work: 10 }), 0);
    return queue;
  }

  it('is waited for when as much work as its own has passed it', () => {
    const queue = crowd();
    // the first is served at equal counts, which is no passing
    expect(pass(queue)).toBe(11);
    queue.wake();
    queue.next(0);
    queue.admitted(0, 1, 0);
    expect(queue.next(0)).toBe(12);
  });

  it('is waited for once, and not for ever', () => {
    const queue = crowd();
    pass(queue);
    queue.wake();
    queue.next(10_000);
    queue.blocked(0, 10_000);
    expect(queue.next(10_000)).toBe(12);
  });

  it('is not waited for by those that were served less', () => {
    const queue = crowd();
    pass(queue);
    queue.enter(99, ask({ tenant: 'quiet' }), 0);
    expect(queue.next(0)).toBe(99);
  });

  it('is not waited for while its own tenant’s pages are what it lacks', () => {
    const queue = crowd();
    pass(queue);
    queue.enter(99, ask({ tenant: 'large', modelId: 'n', pages: 5 }), 0);
    queue.wake();
    // model m's turn comes first, then n's
    expect(queue.next(0)).toBe(0);
    expect(queue.next(0)).toBeUndefined();
    queue.blocked(0, 0);
    queue.wake();
    expect(queue.next(0)).toBe(99);
    expect(queue.next(0)).toBe(12);
  });

  it('that leaves is waited for no longer', () => {
    const queue = crowd();
    pass(queue);
    queue.leave(0, 0);
    expect(queue.next(0)).toBe(12);
  });
});

describe('bounds', () => {
  const quiet = { tenant: 'quiet' };
  const noisy = { tenant: 'noisy' };

  function full(limits: Partial<AdmissionLimits> = {}): AdmissionQueue {
    const queue = queueWith(limits);
    [0, 1, 2].forEach((id) => queue.enter(id, ask({ ...noisy, arrivedMs: id, bytes: 300 }), 0));
    return queue;
  }

  it('send a newcomer away who takes most of the queue and is the last', () => {
    const queue = full();
    expect(queue.enter(3, ask({ ...noisy, arrivedMs: 3 }), 0)).toEqual({
      refusal: { cause: 'full', retryAfterMs: 1_000 },
      shed: [],
    });
    expect([queue.size, queue.bytes]).toEqual([3, 900]);
  });

  it('shed the newest of whoever takes most for somebody else', () => {
    const queue = full();
    const shed = [{ id: 2, cause: 'shed', retryAfterMs: 1_000 }];
    expect(queue.enter(3, ask({ ...quiet, arrivedMs: 3 }), 0)).toEqual({ shed });
    expect(queue.size).toBe(3);
    // two of one and one of the other: the next of the quiet one makes two of each, and it is the newest
    expect(queue.enter(4, ask({ ...quiet, arrivedMs: 4 }), 0).shed).toMatchObject([{ id: 1 }]);
    expect(queue.enter(5, ask({ ...quiet, arrivedMs: 5 }), 0)).toMatchObject({ refusal: { cause: 'full' } });
  });

  it('shed the lowest in priority first, also for the same tenant', () => {
    const queue = queueWith();
    [0, 7, 0].forEach((priority, id) => queue.enter(id, ask({ priority, arrivedMs: id }), 0));
    expect(queue.enter(3, ask({ arrivedMs: 3 }), 0).shed).toMatchObject([{ id: 1 }]);
    expect(queue.enter(4, ask({ arrivedMs: 4, priority: 1 }), 0)).toMatchObject({
      refusal: { cause: 'full' },
    });
  });

  it('count by weight', () => {
    const queue = queueWith({ entriesPerModel: 4 }, { heavy: { weight: 3 } });
    ['heavy', 'heavy', 'heavy', 'light'].forEach((tenant, id) => queue.enter(id, ask({ tenant }), 0));
    expect(queue.enter(4, ask({ tenant: 'light' }), 0)).toMatchObject({ refusal: { cause: 'full' } });
    expect(queue.enter(5, ask({ tenant: 'third' }), 0).shed).toMatchObject([{ id: 2 }]);
  });

  it('never shed one that tries', () => {
    const queue = full();
    [0, 1, 2].forEach(() => queue.next(0));
    expect(queue.enter(3, ask(quiet), 0)).toMatchObject({ refusal: { cause: 'full' } });
  });

  it('hold for bytes over all models, and take a single request of any size', () => {
    const queue = full({ entriesPerModel: 9 });
    const other = { ...quiet, modelId: 'n' };
    expect(queue.enter(3, ask({ ...other, bytes: 600 }), 0).shed).toMatchObject([{ id: 2 }, { id: 1 }]);
    expect(queue.bytes).toBe(900);
    expect(queue.enter(4, ask({ ...other, bytes: 101 }), 0)).toMatchObject({ refusal: { cause: 'full' } });
    for (const id of [0, 3]) queue.leave(id, 0);
    expect(queue.enter(5, ask({ bytes: 9_999 }), 0)).toEqual({ shed: [] });
  });

  it('of one model are no other’s', () => {
    expect(full().enter(3, ask({ modelId: 'n' }), 0)).toEqual({ shed: [] });
  });
});

describe('time', () => {
  it('is up at the longest wait or at the request’s own, whichever comes first', () => {
    const queue = queueOf({}, { deadlineMs: 50 }, { deadlineMs: 100 });
    expect(queue.nextExpiryMs).toBe(50);
    expect(queue.expire(49)).toEqual([]);
    expect(queue.expire(50)).toMatchObject([{ id: 1, cause: 'deadline' }]);
    expect(queue.next(100)).toBeUndefined();
    expect(queue.expire(100)).toMatchObject([0, 2].map((id) => ({ id, cause: 'waited' })));
    expect([queue.size, queue.nextExpiryMs]).toEqual([0, undefined]);
  });

  it('that is up already is told at once', () => {
    expect(queueOf().enter(0, ask({ deadlineMs: 50 }), 50)).toMatchObject({ refusal: { cause: 'deadline' } });
  });

  /** A queue in which ten of `noisy` were let in, one in 100 ms, and five wait. */
  function measured(): AdmissionQueue {
    const queue = queueWith({ entriesPerModel: 99, waitMs: 2_000 });
    for (let id = 0; id < 15; id += 1) queue.enter(id, ask({ tenant: 'noisy' }), 0);
    block(queue, queue.next(0));
    for (let nowMs = 100; nowMs <= 1_000; nowMs += 100) {
      queue.wake();
      queue.admitted(queue.next(nowMs) ?? -1, 1, nowMs);
    }
    return queue;
  }

  it('that will not be enough is told at once, with how long the queue takes', () => {
    const queue = measured();
    const enter = (id: number, more: Partial<Ask>) =>
      queue.enter(id, ask({ tenant: 'noisy', arrivedMs: 1_000, ...more }), 1_000);
    // five before it at ten a second
    expect(enter(20, { deadlineMs: 1_400 })).toMatchObject({ refusal: { cause: 'deadline-too-near' } });
    expect(enter(21, { deadlineMs: 1_600 })).toEqual({ shed: [] });
    for (let id = 22; id < 36; id += 1) expect(enter(id, {})).toEqual({ shed: [] });
    for (let id = 36; id < 40; id += 1) enter(id, {});
    expect(enter(40, {})).toMatchObject({ refusal: { cause: 'wait-too-long', retryAfterMs: 1_000 } });
    expect(queue.expire(3_600).find(({ id }) => id === 22)).toMatchObject({ cause: 'waited' });
  });

  it('is enough for a quiet tenant behind a long line of another', () => {
    const queue = measured();
    const deadlineMs = 1_250;
    expect(queue.enter(20, ask({ tenant: 'quiet', deadlineMs }), 1_000)).toEqual({ shed: [] });
    expect(queue.enter(21, ask({ tenant: 'quiet', deadlineMs }), 1_000)).toMatchObject({
      refusal: { cause: 'deadline-too-near' },
    });
  });

  it('tells a client that is sent away how long the queue takes', () => {
    const queue = queueWith({ entriesPerModel: 15, waitMs: 60_000 });
    for (let id = 0; id < 15; id += 1) queue.enter(id, ask(), 0);
    block(queue, queue.next(0));
    for (let nowMs = 500; nowMs <= 5_000; nowMs += 500) {
      queue.wake();
      queue.admitted(queue.next(nowMs) ?? -1, 1, nowMs);
      queue.enter(100 + nowMs, ask({ arrivedMs: nowMs }), nowMs);
    }
    const { refusal } = queue.enter(99, ask({ arrivedMs: 5_000 }), 5_000);
    // fifteen at two a second
    expect(refusal).toEqual({ cause: 'full', retryAfterMs: expect.closeTo(7_500, -3) as number });
  });
});
