import type { ScheduledStep, Scheduler } from '@kvcapsule/domain/scheduling';
import { describe, expect, it } from 'vitest';

import type { Leases } from '../leases/leases.js';
import type { PictureFeatures } from '../pictures/picture-features.js';
import { Outbox } from '../serving/effects.js';
import type { Requests } from '../serving/requests.js';
import { Steps } from './steps.js';

const NOTHING = { reads: [], writes: [], changes: [], chunks: [], samples: [] };
const NO_NEWS = { recompressed: [], preempted: [], missing: [], exhausted: [] };
const OUTCOME = { samples: [], compressSeconds: 0 };

/** Steps 1 to `count`, of which some move pages and some have only news. */
function scripted(count: number, { moving = [], empty = [] }: { moving?: number[]; empty?: number[] } = {}) {
  const log: string[] = [];
  let planned = 0;
  const scheduler = {
    counters: {},
    plan: (ahead: boolean): ScheduledStep | undefined => {
      if (planned === count) return undefined;
      planned += 1;
      log.push(`plan ${planned}${ahead ? ' ahead' : ''}`);
      const writes = moving.includes(planned) ? [{ id: 'a', pages: [1] }] : [];
      const rows = empty.includes(planned) ? 0 : 1;
      return { ...NOTHING, ...NO_NEWS, slots: [planned], number: planned, writes, rows };
    },
    complete: ({ number }: ScheduledStep) => {
      log.push(`complete ${number}`);
      return [];
    },
    fail: ({ number }: ScheduledStep) => {
      log.push(`drop ${number}`);
      return [];
    },
  } as unknown as Scheduler;
  const outbox = new Outbox();
  const steps = new Steps({
    ...{ scheduler, outbox, stopTokenIds: new Set<number>() },
    requests: { find: () => undefined } as unknown as Requests,
    pictures: {} as PictureFeatures,
    leases: { balance: () => undefined } as unknown as Leases,
    lost: () => log.push('lost'),
  });
  /** Numbers of the steps that the engine has got, and slots that it is to close. */
  const effects = () =>
    outbox.take().flatMap((effect) => {
      if (effect.kind === 'runStep') return [`run ${effect.step.number}`];
      return effect.kind === 'closeSlots' ? [`close ${effect.slots.join(' ')}`] : [];
    });
  return { steps, log, effects };
}

describe('Steps', () => {
  it('gives the engine the next step before it takes the last one in, and no more than that', () => {
    const { steps, log, effects } = scripted(3);
    for (let times = 0; times < 3; times += 1) steps.plan(0);
    expect(effects()).toEqual(['run 1', 'run 2']);
    steps.landed(1, OUTCOME, 1);
    steps.plan(1);
    steps.landed(2, OUTCOME, 2);
    steps.landed(3, OUTCOME, 3);
    expect(log).toEqual([
      ...['plan 1', 'plan 2 ahead', 'complete 1'],
      ...['plan 3 ahead', 'complete 2', 'complete 3'],
    ]);
  });

  it('plans nothing beside a step that moves pages', () => {
    const { steps, log } = scripted(3, { moving: [2] });
    for (let times = 0; times < 3; times += 1) steps.plan(0);
    steps.landed(1, OUTCOME, 1);
    steps.plan(1);
    expect(log).toEqual(['plan 1', 'plan 2 ahead', 'complete 1']);
    steps.landed(2, OUTCOME, 2);
    steps.plan(2);
    expect(log.slice(3)).toEqual(['complete 2', 'plan 3']);
  });

  it('goes on from a plan that has only news, at once where the engine is idle', () => {
    const idle = scripted(3, { empty: [1, 2] });
    idle.steps.plan(0);
    expect(idle.effects()).toEqual(['run 3']);
    const busy = scripted(3, { empty: [2] });
    busy.steps.plan(0);
    busy.steps.plan(0);
    expect([busy.effects(), busy.log]).toEqual([['run 1'], ['plan 1', 'plan 2 ahead']]);
  });

  it('takes a step that was planned behind a failing one for failed as well, when it has ended', () => {
    for (const second of ['landed', 'failed'] as const) {
      const { steps, log, effects } = scripted(3);
      steps.plan(0);
      steps.plan(0);
      effects();
      steps.failed(1, new Error('broken'));
      steps.plan(1);
      expect([effects(), log]).toEqual([[], ['plan 1', 'plan 2 ahead']]);
      if (second === 'landed') steps.landed(2, OUTCOME, 2);
      else steps.failed(2, new Error('too'));
      steps.plan(2);
      expect([effects(), log.length]).toEqual([['close 1 2'], 2]);
      steps.slotsClosed();
      steps.plan(3);
      expect(log.slice(2)).toEqual(['drop 1', 'drop 2', 'plan 3']);
    }
  });

  it('gives the engine up after five failures in a row, and not after five with a success between', () => {
    const failFour = ({ steps, log }: ReturnType<typeof scripted>, from: number) => {
      for (let number = from; number < from + 4; number += 1) {
        steps.plan(0);
        steps.failed(number, new Error('broken'));
        steps.slotsClosed();
      }
      return log.includes('lost');
    };
    const recovered = scripted(9);
    expect(failFour(recovered, 1)).toBe(false);
    recovered.steps.plan(0);
    recovered.steps.landed(5, OUTCOME, 1);
    expect(failFour(recovered, 6)).toBe(false);
    const lost = scripted(8);
    expect(failFour(lost, 1)).toBe(false);
    expect(failFour(lost, 5)).toBe(true);
  });

  it('counts a step from the end of the one before, where it waited for that', () => {
    const { steps } = scripted(2);
    const outbox = (steps as unknown as { parts: { outbox: Outbox } }).parts.outbox;
    steps.plan(10);
    steps.plan(11);
    steps.landed(1, OUTCOME, 30);
    steps.landed(2, OUTCOME, 45);
    const durations = outbox
      .take()
      .flatMap((effect) =>
        effect.kind === 'report' && effect.report.kind === 'stepLanded' ? [effect.report.durationMs] : [],
      );
    expect(durations).toEqual([20, 15]);
  });
});
