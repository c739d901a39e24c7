import { describe, expect, it } from 'vitest';

import { type Clock, EngineTime } from './engine-time.js';

/** A clock that a test moves; sleepers wake `lateMs` after their time. */
class TestClock implements Clock {
  now = 0;
  readonly #sleepers: { readonly atMs: number; readonly wake: () => void }[] = [];

  constructor(private readonly lateMs = 0) {}

  nowMs(): number {
    return this.now;
  }

  until(atMs: number): Promise<void> {
    return new Promise((wake) => this.#sleepers.push({ atMs: atMs + this.lateMs, wake }));
  }

  async run(): Promise<void> {
    for (;;) {
      const next = this.#sleepers.sort((a, b) => a.atMs - b.atMs).shift();
      if (!next) return;
      this.now = Math.max(this.now, next.atMs);
      next.wake();
      await new Promise(setImmediate);
    }
  }
}

describe('EngineTime', () => {
  it('does one piece of work after the other', async () => {
    const clock = new TestClock();
    const time = new EngineTime(1, clock);
    const ends: number[] = [];
    const spend = (ms: number) => time.spend(ms).then(() => ends.push(clock.now));
    const all = [spend(10), spend(5), spend(1)];
    await clock.run();
    await Promise.all(all);
    expect(ends).toEqual([10, 15, 16]);
  });

  it('is as many times faster as it is told', async () => {
    const clock = new TestClock();
    const spent = new EngineTime(20, clock).spend(10);
    await clock.run();
    await spent;
    expect(clock.now).toBe(0.5);
  });

  it('begins work that comes later when it comes', async () => {
    const clock = new TestClock();
    const time = new EngineTime(1, clock);
    clock.now = 100;
    const spent = time.spend(7);
    await clock.run();
    await spent;
    expect(clock.now).toBe(107);
  });

  it('does not add up what timers are late by, as long as work waits', async () => {
    const clock = new TestClock(3);
    const time = new EngineTime(1, clock);
    let next = time.spend(10);
    const turns = (async () => {
      for (let turn = 0; turn < 20; turn += 1) {
        const current = next;
        next = time.spend(10);
        await current;
      }
      await next;
    })();
    await clock.run();
    await turns;
    expect(clock.now).toBe(21 * 10 + 3);
  });
});
