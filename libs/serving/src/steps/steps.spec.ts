import { KvcError } from '@kvcapsule/contracts/errors';
import { RebuildCosts } from '@kvcapsule/domain/eviction';
import type { ScheduledStep, Scheduler } from '@kvcapsule/domain/scheduling';
import { describe, expect, it } from 'vitest';

import type { Generation } from '../generation/generation.js';
import type { Leases } from '../leases/leases.js';
import type { PictureFeatures } from '../pictures/picture-features.js';
import { Outbox } from '../serving/effects.js';
import type { Requests } from '../serving/requests.js';
import { Steps } from './steps.js';

const NOTHING = { reads: [], writes: [], changes: [], chunks: [], samples: [] };
const NO_NEWS = { recompressed: [], preempted: [], missing: [], exhausted: [] };
const GENERATION = { completionTokens: 0, tokenIds: [], started: true };
const OUTCOME = { samples: [], compressSeconds: 0 };

interface Script {
  readonly moving?: number[];
  readonly empty?: number[];
  /** What the first step has beside that. */
  readonly first?: Partial<ScheduledStep>;
}

/** Steps 1 to `count`, of which some move pages and some have only news; request `a` is here, with no answer yet. */
function scripted(count: number, { moving = [], empty = [], first = {} }: Script = {}) {
  const log: string[] = [];
  let planned = 0;
  const allowed: number[] = [];
  const costs = new RebuildCosts();
  const scheduler = {
    counters: {},
    costs,
    plan: (ahead: boolean, prefillRows: number): ScheduledStep | undefined => {
      if (planned === count) return undefined;
      planned += 1;
      allowed.push(prefillRows);
      log.push(`plan ${planned}${ahead ? ' ahead' : ''}`);
      const writes = moving.includes(planned) ? [{ id: 'a', pages: [1] }] : [];
      const rows = empty.includes(planned) ? 0 : 1;
      const step = { ...NOTHING, ...NO_NEWS, slots: [planned], number: planned, writes, rows };
      return planned === 1 ? { ...step, ...first } : step;
    },
    complete: ({ number }: ScheduledStep, drawn: readonly number[]) => {
      log.push(['complete', number, ...drawn].join(' '));
      return [];
    },
    ready: (id: string) => log.push(`ready ${id}`),
    fail: ({ number }: ScheduledStep) => {
      log.push(`drop ${number}`);
      return [];
    },
  } as unknown as Scheduler;
  const outbox = new Outbox();
  const balanced: number[] = [];
  let encoded: ((error?: unknown) => void) | undefined;
  const steps = new Steps({
    ...{ scheduler, outbox, stopTokenIds: new Set<number>() },
    requests: {
      find: (id: string) => (id === 'a' ? { ...GENERATION, id, ids: { requestId: id } } : undefined),
      fail: ({ id }: Generation, { code }: KvcError) => log.push(`fail ${id} ${code}`),
    } as unknown as Requests,
    pictures: {
      get computed() {
        return pictures.computed;
      },
      get underWay() {
        return pictures.underWay;
      },
      release: ({ id }: Generation) => log.push(`release ${id}`),
      encode: ({ id }: Generation, from: number, done: (error?: unknown) => void) => {
        log.push(`encode ${id} from ${from}`);
        encoded = done;
      },
    } as unknown as PictureFeatures,
    leases: { balance: (nowMs: number) => balanced.push(nowMs) } as unknown as Leases,
    lost: () => log.push('lost'),
  });
  const pictures = { computed: 0, underWay: 0 };
  const reports = () => outbox.take().flatMap((effect) => (effect.kind === 'report' ? [effect.report] : []));
  /** Numbers of the steps that the engine has got, and slots that it is to close. */
  const effects = () =>
    outbox.take().flatMap((effect) => {
      if (effect.kind === 'runStep') return [`run ${effect.step.number}`];
      if (effect.kind === 'closeSlots') return [`close ${effect.slots.join(' ')}`];
      return effect.kind === 'report' ? [] : [effect.kind];
    });
  const more = { costs, pictures, encoded: (error?: unknown) => encoded?.(error) };
  return { steps, log, allowed, effects, reports, balanced, ...more };
}

describe('Steps', () => {
  it('gives the engine the next step before it takes the last one in, and no more than that', () => {
    const { steps, log, effects, balanced } = scripted(3);
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
    // how far the worker is, and its leases, follow what has run
    expect([steps.run, balanced]).toEqual([3, [1, 2, 3]]);
  });

  it('asks for no more rows of prefill than the engine computed in two seconds lately', () => {
    const { steps, allowed } = scripted(3, { first: { rows: 1024 } });
    steps.plan(0);
    steps.plan(0);
    steps.landed(1, OUTCOME, 4096);
    steps.plan(4096);
    expect(allowed).toEqual([256, 256, 500]);
  });

  it('learns what a token of prefill costs from steps without pictures beside them', () => {
    const chunks = [{ id: 'a', rows: 64 }] as unknown as ScheduledStep['chunks'];
    const seconds = (meanwhile: (pictures: { computed: number; underWay: number }) => void) => {
      const { steps, costs, pictures } = scripted(1, { first: { rows: 64, chunks } });
      steps.plan(0);
      meanwhile(pictures);
      steps.landed(1, OUTCOME, 640);
      return costs.prefillSeconds;
    };
    expect(seconds(() => undefined)).toBe(0.01);
    expect(seconds((pictures) => (pictures.underWay = 1))).toBe(0.001);
    expect(seconds((pictures) => (pictures.computed = 1))).toBe(0.001);
  });

  it('takes ends of steps in their order only: what they drew would go to others', () => {
    const { steps } = scripted(2);
    const ends = (number: number) => () => {
      steps.landed(number, OUTCOME, 1);
    };
    expect(ends(1)).toThrow('order');
    steps.plan(0);
    steps.plan(0);
    expect(ends(2)).toThrow('order');
  });

  it('hands what was drawn to the scheduler, and counts what was compressed', () => {
    const changes = [
      { kind: 'compress', pages: [1] },
      { kind: 'open' },
      { kind: 'compress', pages: [2, 3] },
    ] as unknown as ScheduledStep['changes'];
    const { steps, log, reports } = scripted(1, { first: { changes } });
    steps.plan(0);
    expect(reports()).toEqual([{ kind: 'stepPlanned', counters: {} }]);
    steps.landed(1, { samples: [{ tokenId: 7 }, { tokenId: 9 }], compressSeconds: 0.5 }, 4);
    expect(log.at(-1)).toBe('complete 1 7 9');
    expect(reports()).toEqual([
      { kind: 'stepLanded', durationMs: 4, rows: 1, compressions: 2, compressSeconds: 0.5 },
    ]);
  });

  it('lets the features go of a request that gives its pages up', () => {
    const { steps, log } = scripted(1, { first: { preempted: ['a'] } });
    steps.plan(0);
    expect(log).toEqual(['plan 1', 'release a']);
  });

  it.each([
    [undefined, ['ready a'], ['wake']],
    [new KvcError('IMAGE_INVALID', 'no'), ['fail a IMAGE_INVALID'], []],
  ])('has all features made anew that a request lacks, holding none meanwhile (%j)', (error, then, told) => {
    const { steps, log, effects, encoded } = scripted(1, { first: { missing: ['a'] } });
    steps.plan(0);
    expect(log.slice(1)).toEqual(['release a', 'encode a from 0']);
    effects();
    encoded(error);
    expect([log.slice(3), effects()]).toEqual([then, told]);
  });

  it('ends as an error, never as an answer, what the pool has no room for before its first token', () => {
    const { steps, log, reports } = scripted(1, { first: { exhausted: ['a'] } });
    steps.plan(0);
    expect(log.slice(1)).toEqual(['fail a KV_CAPACITY_EXCEEDED']);
    expect(reports()).toContainEqual({ kind: 'poolExhausted', ids: { requestId: 'a' } });
  });

  it('stops at a request that the scheduler has and nobody knows: they must agree', () => {
    const { steps } = scripted(1, { first: { preempted: ['unknown'] } });
    expect(() => {
      steps.plan(0);
    }).toThrow('not here');
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
      expect(effects()).toEqual(['wake']);
      steps.slotsClosed();
      expect(effects()).toEqual([]);
      steps.plan(3);
      expect(log.slice(2)).toEqual(['drop 1', 'drop 2', 'plan 3']);
      expect(steps.run).toBe(0);
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
    const { steps, reports } = scripted(2);
    steps.plan(10);
    steps.plan(11);
    steps.landed(1, OUTCOME, 30);
    steps.landed(2, OUTCOME, 45);
    const durations = reports().flatMap((report) =>
      report.kind === 'stepLanded' ? [report.durationMs] : [],
    );
    expect(durations).toEqual([20, 15]);
  });
});
