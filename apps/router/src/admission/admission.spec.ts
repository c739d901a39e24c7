import { KvcError } from '@kvcapsule/contracts/errors';
import { type Ask, PLAIN_TERMS } from '@kvcapsule/domain/admission';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Fleet } from '../fleet/fleet.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import type { Settings } from '../settings.js';
import { MemoryPorts } from '../testing/memory-ports.js';
import { Admission } from './admission.service.js';
import type { Attempt } from './ticket.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const line: Ask = {
  ...{ modelId: 'm', tenant: 't', work: 1, isCharged: false, priority: 0, bytes: 0, pages: 0 },
  ...{ arrivedMs: 0, deadlineMs: Infinity },
};
const { signal: calm } = new AbortController();

let ports: MemoryPorts;
let fleet: Fleet;
let admission: Admission;

type Limits = Pick<Settings, 'queueEntries' | 'queueWaitMs'>;

function begin(limits: Limits, tenants: Settings['tenants'] = []): void {
  ports = new MemoryPorts();
  const settings = { queueBytes: Infinity, tenants, ...limits } as Settings;
  fleet = new Fleet(ports, settings);
  admission = new Admission(settings, ports, fleet, new Telemetry());
}

/** Requests arrive in the order in which they enter. */
function enter<T>(attempt: Attempt<T>, deadlineMs: number, signal: AbortSignal): Promise<T> {
  return admission.enter({ ...line, deadlineMs, arrivedMs: performance.now() }, attempt, signal);
}

afterEach(() => {
  admission.onApplicationShutdown();
});

const attemptOf = <T>(run: Attempt<T>['run']): Attempt<T> => ({
  run,
  pagesOf: () => 1,
  giveBack: () => undefined,
});
const full = attemptOf(() => Promise.resolve(undefined));

type Step = 'enter' | 'leave' | 'finish' | 'wake' | 'fault';

/** A pool with room for some, and the queue before it. */
class Pool {
  free: number;
  faults = 0;
  entered = 0;
  readonly held: number[] = [];
  readonly order: number[] = [];
  readonly refused: number[] = [];
  readonly waiting = new Map<number, AbortController>();

  constructor(readonly room: number) {
    this.free = room;
  }

  async #attempt(id: number): Promise<number | undefined> {
    await turn();
    if (this.faults > 0) {
      this.faults -= 1;
      throw new KvcError('LEDGER_UNAVAILABLE', 'away');
    }
    if (this.free === 0) return undefined;
    this.free -= 1;
    return id;
  }

  enter(): void {
    const id = this.entered++;
    const controller = new AbortController();
    this.waiting.set(id, controller);
    const ended = (list: number[]) => () => {
      this.waiting.delete(id);
      list.push(id);
    };
    const won = ended(this.order);
    const attempt = {
      run: () => this.#attempt(id),
      pagesOf: () => 1,
      giveBack: () => {
        this.free += 1;
        fleet.changed();
      },
    };
    enter(attempt, Infinity, controller.signal).then(() => {
      won();
      this.held.push(id);
    }, ended(this.refused));
  }

  step(step: Step): void {
    switch (step) {
      case 'enter':
        return this.enter();
      case 'leave':
        return [...this.waiting.values()].at(-1)?.abort(new KvcError('ABORTED', 'gone'));
      case 'finish':
        if (this.held.shift() !== undefined) this.free += 1;
        return fleet.changed();
      case 'wake':
        return fleet.changed();
      case 'fault':
        this.faults = 1;
    }
  }
}

describe('admission', () => {
  it('takes its share of what a tenant may have, among the routers that there are', () => {
    const caps = { ...PLAIN_TERMS.caps, requests: 6 };
    begin({ queueEntries: 1, queueWaitMs: 1_000 }, [{ ...PLAIN_TERMS, caps, name: 't', keyHashes: [] }]);
    ports.routers = 3;
    const open = () => admission.open({ modelId: 'm', tenant: 't' }, 0);
    const tickets = [open(), open()];
    expect(open).toThrow('requests at one time');
    ports.routers = 2;
    tickets.push(open());
    expect(open).toThrow('requests at one time');
    for (const ticket of tickets) ticket.close(0);
  });

  it('has those that are served most leave room for those that are served little', async () => {
    begin({ queueEntries: 100, queueWaitMs: 60_000 });
    const asked: Record<string, number[]> = { quiet: [], noisy: [] };
    const enterAs = (tenant: string) => {
      const attempt: Attempt<string> = {
        ...attemptOf(({ headroom }) => {
          asked[tenant]?.push(headroom.requests);
          return Promise.resolve('won');
        }),
        pagesOf: () => 8,
      };
      return admission.enter({ ...line, tenant, arrivedMs: performance.now() }, attempt, calm);
    };
    const nowMs = vi.spyOn(performance, 'now').mockReturnValue(0);
    for (let at = 0; at < 50; at += 1) await enterAs('noisy');
    await enterAs('quiet');
    nowMs.mockReturnValue(2_000);
    await enterAs('noisy');
    await enterAs('quiet');
    nowMs.mockRestore();
    expect([asked.noisy?.slice(-2), asked.quiet]).toEqual([
      [0, 1],
      [0, 0],
    ]);
  });

  it('serves a line in order, never more than there is room for, and loses nobody', async () => {
    const steps = fc.array(
      fc.tuple(
        fc.constantFrom<Step>('enter', 'enter', 'enter', 'leave', 'finish', 'wake', 'fault'),
        fc.boolean(),
      ),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (room, sequence) => {
        begin({ queueEntries: 100, queueWaitMs: 60_000 });
        const pool = new Pool(room);
        for (const [step, pause] of sequence) {
          pool.step(step);
          if (pause) await turn();
          expect(pool.held.length).toBeLessThanOrEqual(room);
        }
        pool.faults = 0;
        while (pool.waiting.size > 0) {
          pool.step('finish');
          await turn();
        }
        await turn();
        expect(pool.order).toEqual(pool.order.toSorted((a, b) => a - b));
        expect(pool.order.length + pool.refused.length).toBe(pool.entered);
        expect(pool.free + pool.held.length).toBe(room);
        expect(admission.size).toBe(0);
        admission.onApplicationShutdown();
      }),
      { numRuns: 60, seed: 5 },
    );
  });

  it('refuses at once what finds its line full, and after the longest wait what waited', async () => {
    begin({ queueEntries: 1, queueWaitMs: 20 });
    const first = enter(full, Infinity, calm);
    await expect(enter(full, Infinity, calm)).rejects.toMatchObject({
      code: 'QUEUE_FULL',
      message: 'All workers are full, and too many requests wait for them already.',
      retryAfterMs: 1_000,
    });
    const other = admission.enter({ ...line, modelId: 'n' }, full, calm);
    const waited = {
      code: 'NO_CAPACITY',
      message: 'No worker had room for this request within 0.02 s.',
      retryAfterMs: 1_000,
    };
    await expect(first).rejects.toMatchObject(waited);
    await expect(other).rejects.toMatchObject(waited);
    expect(admission.size).toBe(0);
  });

  it('sends the newest of who has most away for another, and tells both apart', async () => {
    begin({ queueEntries: 2, queueWaitMs: 60_000 });
    const [first, second] = [enter(full, Infinity, calm), enter(full, Infinity, calm)];
    await turn();
    const left = new AbortController();
    const quiet = { ...line, tenant: 'quiet', arrivedMs: performance.now() };
    const other = admission.enter(quiet, full, left.signal);
    await expect(second).rejects.toMatchObject({
      code: 'QUEUE_FULL',
      message: 'The queue is full, and this request gave way to others in it.',
      retryAfterMs: 1_000,
    });
    expect(admission.size).toBe(2);
    left.abort(new KvcError('ABORTED', 'gone'));
    await expect(other).rejects.toMatchObject({ code: 'ABORTED' });
    admission.onApplicationShutdown();
    first.catch(() => undefined);
  });

  it('says at once what the queue’s pace will not allow, and when it would', async () => {
    vi.useFakeTimers();
    try {
      begin({ queueEntries: 99, queueWaitMs: 2_000 });
      let room = 0;
      const attempt = attemptOf(() => Promise.resolve(room > 0 ? ((room -= 1), 'won') : undefined));
      const others = Array.from({ length: 40 }, () => enter(attempt, Infinity, calm).catch(() => undefined));
      // ten a second
      for (let passed = 0; passed < 10; passed += 1) {
        await vi.advanceTimersByTimeAsync(100);
        room = 1;
        fleet.changed();
      }
      await vi.advanceTimersByTimeAsync(0);
      expect(admission.size).toBe(30);
      await expect(enter(attempt, Infinity, calm)).rejects.toMatchObject({
        code: 'NO_CAPACITY',
        message: 'The requests that go before this one will take longer than the 2 s that it may wait.',
        // three seconds, of which it may wait two
        retryAfterMs: expect.closeTo(1_000, -2) as number,
      });
      await expect(enter(attempt, performance.now() + 1_000, calm)).rejects.toMatchObject({
        code: 'DEADLINE_EXCEEDED',
        retryAfterMs: expect.closeTo(2_000, -3) as number,
      });
      await vi.advanceTimersByTimeAsync(2_000);
      await Promise.all(others);
    } finally {
      vi.useRealTimers();
    }
  });

  it('never sets a timer into the past, which Node complains of on stderr', async () => {
    begin({ queueEntries: 10, queueWaitMs: 60_000 });
    const clock = vi.spyOn(performance, 'now').mockReturnValueOnce(0).mockReturnValueOnce(50);
    const timers = vi.spyOn(globalThis, 'setTimeout');
    const entered = admission.enter({ ...line, deadlineMs: 10 }, full, calm);
    await expect(entered).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(timers.mock.calls.map(([, delayMs]) => delayMs)).toEqual([0]);
    clock.mockRestore();
    timers.mockRestore();
  });

  it('ends the wait at the deadline, also of one that comes later and leaves earlier', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    await expect(enter(full, performance.now(), calm)).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    const patient = new AbortController();
    const long = enter(full, Infinity, patient.signal);
    const short = enter(full, performance.now() + 20, calm);
    await expect(short).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(admission.size).toBe(1);
    patient.abort(new KvcError('ABORTED', 'gone'));
    await expect(long).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('does not try for whom nobody waits any longer', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    const gone = AbortSignal.abort(new KvcError('ABORTED', 'gone'));
    let tried = 0;
    const attempt = attemptOf(() => Promise.resolve((tried += 1)));
    await expect(enter(attempt, Infinity, gone)).rejects.toMatchObject({ code: 'ABORTED' });
    expect([tried, admission.size]).toEqual([0, 0]);
  });

  it('tries again as soon as the fleet has changed, without another heartbeat', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    let room = 0;
    const attempt = attemptOf(() => Promise.resolve(room > 0 ? 'won' : undefined));
    const entered = enter(attempt, Infinity, calm);
    await turn();
    room = 1;
    fleet.changed();
    expect(await entered).toBe('won');
  });

  it('ends each wait at its own time, whoever came before or after', async () => {
    vi.useFakeTimers();
    try {
      begin({ queueEntries: 9, queueWaitMs: 60_000 });
      const ends: [string, number][] = [];
      const enterAs = (name: string, waitMs: number): void => {
        enter(full, performance.now() + waitMs, calm).catch(() => {
          ends.push([name, performance.now()]);
        });
      };
      const beganMs = performance.now();
      for (const [name, waitMs] of [
        ['b', 2_000],
        ['c', 3_000],
        ['a', 1_000],
        ['d', 90_000],
      ] as const)
        enterAs(name, waitMs);
      await vi.advanceTimersByTimeAsync(100_000);
      expect(ends.map(([name, atMs]) => [name, atMs - beganMs])).toEqual([
        ['a', 1_000],
        ['b', 2_000],
        ['c', 3_000],
        ['d', 60_000],
      ]);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('leaves no timer behind that would keep a router from ending', async () => {
    vi.useFakeTimers();
    try {
      begin({ queueEntries: 9, queueWaitMs: 60_000 });
      const left = new AbortController();
      const entered = enter(full, Infinity, left.signal);
      expect(vi.getTimerCount()).toBe(1);
      admission.onApplicationShutdown();
      expect(vi.getTimerCount()).toBe(0);
      left.abort(new KvcError('ABORTED', 'gone'));
      await expect(entered).rejects.toMatchObject({ code: 'ABORTED' });
    } finally {
      vi.useRealTimers();
    }
  });

  it('lets the next of a line try as soon as the first is in', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    const won = attemptOf(() => Promise.resolve('won'));
    const entered = [1, 2, 3].map(() => enter(won, Infinity, calm));
    expect(await Promise.all(entered)).toEqual(['won', 'won', 'won']);
  });

  it('lets the next of a line try when the first’s time is up', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    const first = enter(full, performance.now() + 20, calm);
    const second = enter(
      attemptOf(() => Promise.resolve('won')),
      Infinity,
      calm,
    );
    await expect(first).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', retryAfterMs: 1_000 });
    expect(await second).toBe('won');
  });

  it('hears no more of a signal when it has let somebody in', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    const controller = new AbortController();
    const remove = vi.spyOn(controller.signal, 'removeEventListener');
    const won = attemptOf(() => Promise.resolve('won'));
    expect(await enter(won, Infinity, controller.signal)).toBe('won');
    expect(remove).toHaveBeenCalledWith('abort', expect.any(Function));
    expect(admission.size).toBe(0);
  });

  it('gives back what was won for somebody who has left', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    const controller = new AbortController();
    const given: string[] = [];
    const attempt = {
      run: async () => {
        await turn();
        return 'won';
      },
      pagesOf: () => 1,
      giveBack: (won: string) => void given.push(won),
    };
    const entered = enter(attempt, Infinity, controller.signal);
    controller.abort(new KvcError('ABORTED', 'gone'));
    await expect(entered).rejects.toMatchObject({ code: 'ABORTED' });
    await turn();
    expect(given).toEqual(['won']);
  });

  it('lets the next of a line try when the first leaves', async () => {
    begin({ queueEntries: 3, queueWaitMs: 60_000 });
    const controller = new AbortController();
    const first = enter(full, Infinity, controller.signal);
    const second = enter(
      attemptOf(() => Promise.resolve('won')),
      Infinity,
      calm,
    );
    await turn();
    controller.abort(new KvcError('ABORTED', 'gone'));
    await expect(first).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await second).toBe('won');
  });
});
