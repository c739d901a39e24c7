import { Scheduler } from '@kvcapsule/domain/scheduling';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { LeaseEffect, ResizeAnswer } from './lease-effects.js';
import { Leases } from './leases.js';

const PAGES_PER_BLOCK = 8;

/** Leases before a ledger that answers at once, with whatever it is told to. */
class Rig {
  readonly held = new Map<string, number>();
  answer: ResizeAnswer = 'set';
  readonly leases: Leases;
  readonly #asked: LeaseEffect[] = [];

  constructor(readonly scheduler: Scheduler) {
    this.leases = new Leases(scheduler, PAGES_PER_BLOCK, (effect) => this.#asked.push(effect));
  }

  add(id: string, promptTokens: number): void {
    this.leases.accept(id, { leaseId: id, epoch: 1n, pages: 0 }, () => undefined);
    this.#asked.length = 0;
    this.held.set(id, 0);
    this.scheduler.add({ id, promptTokens, pictures: [] });
  }

  step(): void {
    const step = this.scheduler.plan();
    if (step) this.scheduler.complete(step, []);
  }

  balance(nowMs: number): void {
    this.leases.balance(nowMs);
    for (let effect = this.#asked.shift(); effect; effect = this.#asked.shift()) {
      if (effect.kind !== 'resizeLease') continue;
      const { id, pages } = effect;
      const grows = pages > (this.held.get(id) ?? 0);
      const answer = grows ? this.answer : 'set';
      if (answer === 'set') this.held.set(id, pages);
      this.leases.resized(id, answer, nowMs);
    }
  }
}

describe('Leases', () => {
  it('stay ahead of what their requests hold, however little is looked at and whatever the ledger answers', () => {
    const requests = fc.array(
      fc.record({ promptTokens: fc.integer({ min: 1, max: 90 }), ends: fc.integer({ min: 1, max: 60 }) }),
      { minLength: 2, maxLength: 8 },
    );
    const answers = fc.array(fc.constantFrom<ResizeAnswer>('set', 'refused', 'unknown'), {
      minLength: 60,
      maxLength: 60,
    });
    fc.assert(
      fc.property(requests, answers, (asked, answered) => {
        const rig = new Rig(new Scheduler({ blocks: 40, maxStepTokens: 40, maxRunning: 6, swapPages: 100 }));
        for (const [index, { promptTokens }] of asked.entries()) rig.add(`r${index}`, promptTokens);
        for (const [tick, answer] of answered.entries()) {
          rig.step();
          asked.forEach(({ ends }, index) => {
            if (ends === tick && rig.scheduler.finish(`r${index}`)) rig.leases.release(`r${index}`);
          });
          rig.answer = answer;
          rig.balance(tick * 1000);
          if (answer !== 'set') continue;
          for (const id of rig.scheduler.running) {
            const least = rig.scheduler.pages(id).held + PAGES_PER_BLOCK;
            expect(rig.held.get(id)).toBeGreaterThanOrEqual(least);
          }
        }
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  it('are not looked at while the pages of their requests stay the same', () => {
    const rig = new Rig(new Scheduler({ blocks: 64, maxStepTokens: 64, maxRunning: 4 }));
    const looked: string[] = [];
    const pages = rig.scheduler.pages.bind(rig.scheduler);
    rig.scheduler.pages = (id) => {
      looked.push(id);
      return pages(id);
    };
    rig.add('a', 10);
    rig.add('b', 13);
    const seen = Array.from({ length: 8 }, (_, step) => {
      rig.step();
      looked.length = 0;
      rig.balance(step);
      return [...looked];
    });
    // who begins, and who begins a block
    expect(seen).toEqual([['a', 'b'], [], [], [], ['b'], [], [], ['a']]);
  });
});
