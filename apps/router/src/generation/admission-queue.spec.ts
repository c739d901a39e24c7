import { KvcError } from '@kvcapsule/contracts/errors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdmissionQueue } from './admission-queue.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

type Step = 'enter' | 'leave' | 'finish' | 'nudge' | 'fault';

/** A pool with room for some, and a queue before it. */
class Pool {
  free: number;
  faults = 0;
  readonly held: number[] = [];
  readonly order: number[] = [];
  readonly refused: number[] = [];
  readonly waiting = new Map<number, AbortController>();
  readonly queue: AdmissionQueue<number>;
  #next = 0;

  constructor(readonly room: number) {
    this.free = room;
    this.queue = new AdmissionQueue({ entries: 100, waitMs: 60_000 }, () => {
      this.free += 1;
    });
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
    const id = this.#next++;
    const controller = new AbortController();
    this.waiting.set(id, controller);
    const left = () => this.waiting.delete(id);
    const won = () => {
      left();
      this.order.push(id);
      this.held.push(id);
    };
    const lost = () => {
      left();
      this.refused.push(id);
    };
    void this.queue.enter(() => this.#attempt(id), controller.signal).then(won, lost);
  }

  step(step: Step): void {
    switch (step) {
      case 'enter':
        return this.enter();
      case 'leave':
        return [...this.waiting.values()].at(-1)?.abort(new KvcError('ABORTED', 'gone'));
      case 'finish':
        if (this.held.shift() !== undefined) this.free += 1;
        return this.queue.nudge();
      case 'nudge':
        return this.queue.nudge();
      case 'fault':
        this.faults = 1;
    }
  }

  get entered(): number {
    return this.#next;
  }
}

describe('the admission queue', () => {
  it('serves in order, never more than there is room for, and loses nobody', async () => {
    const steps = fc.array(
      fc.tuple(
        fc.constantFrom<Step>('enter', 'enter', 'enter', 'leave', 'finish', 'nudge', 'fault'),
        fc.boolean(),
      ),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (room, sequence) => {
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
        expect(pool.queue.size).toBe(0);
      }),
      { numRuns: 60, seed: 5 },
    );
  });

  it('is bounded in number and in time', async () => {
    const queue = new AdmissionQueue<number>({ entries: 1, waitMs: 20 }, () => undefined);
    const never = () => Promise.resolve(undefined);
    const { signal } = new AbortController();
    const first = queue.enter(never, signal);
    await expect(queue.enter(never, signal)).rejects.toMatchObject({
      code: 'NO_CAPACITY',
      retryAfterMs: 1_000,
    });
    await expect(first).rejects.toMatchObject({ code: 'NO_CAPACITY' });
    expect(queue.size).toBe(0);
  });
});
