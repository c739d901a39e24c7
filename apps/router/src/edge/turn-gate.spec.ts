import { setImmediate as turn } from 'node:timers/promises';
import type { KvcError } from '@kvcapsule/contracts/errors';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { TurnGate } from './turn-gate.js';

const WAIT_MS = 30_000;
const isHere = () => false;

let nowMs = 0;

beforeEach(() => {
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Requests that take so long each, all there at once; the turns in which they came in. */
async function turnsOf(costsMs: readonly number[]): Promise<number[]> {
  const gate = new TurnGate(WAIT_MS);
  const turns: number[] = [];
  let now = 0;
  const request = async (costMs: number) => {
    await gate.enter('t', isHere);
    turns.push(now);
    nowMs += costMs;
  };
  const ended = { value: false };
  // before the gate's own: a turn begins with this
  const turning = (async () => {
    for (; !ended.value; now += 1) {
      nowMs += 100;
      await turn();
    }
  })();
  await Promise.all(
    costsMs.map(async (costMs, index) => {
      // each one's work is done before the next one arrives, as with a turn's events
      for (let ticks = 0; ticks < 5 * index; ticks += 1) await Promise.resolve();
      return request(costMs);
    }),
  );
  ended.value = true;
  await turning;
  return turns;
}

it('lets requests in for as long as a turn has time, then one in each turn', async () => {
  expect(await turnsOf([1, 1, 1, 1, 1, 1])).toEqual([0, 0, 0, 0, 1, 2]);
  expect(await turnsOf([9, 1, 1])).toEqual([0, 1, 2]);
  expect(await turnsOf([3, 0.5])).toEqual([0, 0]);
});

it('lets every request in, in the order of arrival, and no turn begins one when it is over', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 30 }), async (costsMs) => {
      const turns = await turnsOf(costsMs);
      expect(turns).toHaveLength(costsMs.length);
      expect(turns).toEqual([...turns].sort((a, b) => a - b));
      const spent = new Map<number, number>();
      for (const [index, at] of turns.entries()) {
        expect(spent.get(at) ?? 0).toBeLessThan(4);
        spent.set(at, (spent.get(at) ?? 0) + (costsMs[index] ?? 0));
      }
    }),
    { numRuns: 100, seed: 7 },
  );
});

it('asks for a turn where it cannot know that there was one', async () => {
  const gate = new TurnGate(WAIT_MS);
  expect(gate.enter('t', isHere)).toBeUndefined();
  nowMs += 40;
  const second = gate.enter('t', isHere);
  expect(second).toBeDefined();
  await second;
  nowMs += 3;
  expect(gate.enter('t', isHere)).toBeUndefined();
  nowMs += 50;
  expect(gate.enter('t', isHere)).toBeUndefined();
});

it('lets tenants take turns, whoever has how many that wait', async () => {
  const gate = new TurnGate(WAIT_MS);
  const passed: string[] = [];
  const enter = async (name: string) => {
    await gate.enter(name.charAt(0), isHere);
    passed.push(name);
  };
  const first = enter('n0');
  nowMs += 9;
  const others = ['n1', 'n2', 'n3', 'n4', 'q1', 'q2', 'r1'].map(enter);
  await Promise.all([first, ...others]);
  expect(passed).toEqual(['n0', 'n1', 'q1', 'r1', 'n2', 'q2', 'n3', 'n4']);
});

it('lets nobody pass those of its tenant that wait', async () => {
  const gate = new TurnGate(WAIT_MS);
  const passed: string[] = [];
  const enter = async (name: string) => {
    await gate.enter('t', isHere);
    passed.push(name);
  };
  const first = enter('a');
  nowMs += 9;
  const others = ['b', 'c'].map(enter);
  await first;
  await others[0];
  others.push(enter('d'));
  await Promise.all(others);
  expect(passed).toEqual(['a', 'b', 'c', 'd']);
});

it('refuses those whose wait has been the longest, however few have a turn', async () => {
  const gate = new TurnGate(1_000);
  const ends: string[] = [];
  const enter = async (name: string) => {
    await gate.enter(name.charAt(0), isHere);
    nowMs += 400;
    ends.push(name);
  };
  expect(gate.enter('n', isHere)).toBeUndefined();
  nowMs += 9;
  const refused = async (name: string) => {
    await expect(enter(name)).rejects.toMatchObject({ code: 'NO_CAPACITY', retryAfterMs: 1_000 });
    ends.push(`no ${name}`);
  };
  await Promise.all([enter('n1'), enter('q1'), enter('n2'), refused('n3'), refused('q2')]);
  // each takes 400 ms: after three of them a second is over
  expect(ends).toEqual(['n1', 'q1', 'n2', 'no q2', 'no n3']);
  expect(gate.enter('n', isHere)).toBeUndefined();
});

it('gives no turn to clients that have gone', async () => {
  const gate = new TurnGate(WAIT_MS);
  const passed: string[] = [];
  const enter = async (name: string, isGone: boolean) => {
    await gate.enter('t', () => isGone);
    passed.push(name);
  };
  const first = enter('a', false);
  nowMs += 9;
  const gone = Promise.allSettled(Array.from({ length: 1_000 }, () => enter('gone', true)));
  const last = enter('b', false);
  let turns = 0;
  const turning = (async () => {
    for (; !passed.includes('b'); turns += 1) await turn();
  })();
  await Promise.all([first, last, turning]);
  expect(passed).toEqual(['a', 'b']);
  expect(turns).toBeLessThan(5);
  const codes = (await gone).map((each) => each.status === 'rejected' && (each.reason as KvcError).code);
  expect(new Set(codes)).toEqual(new Set(['ABORTED']));
});

it('ends every request that waits, in its time, whatever the others do', async () => {
  const request = fc.record({
    tenant: fc.constantFrom('a', 'b', 'c'),
    isGone: fc.boolean(),
    costMs: fc.nat(400),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 30 }), async (requests) => {
      const gate = new TurnGate(1_000);
      const startMs = nowMs;
      const ends = await Promise.all(
        requests.map(async ({ tenant, isGone, costMs }) => {
          try {
            await gate.enter(tenant, () => isGone);
            expect(nowMs - startMs).toBeLessThan(1_000 + 400);
            nowMs += costMs;
            return 'in';
          } catch (error) {
            return (error as KvcError).code;
          }
        }),
      );
      for (const [at, end] of ends.entries())
        if (end === 'ABORTED') expect(requests[at]?.isGone).toBe(true);
        else if (end === 'NO_CAPACITY') expect(nowMs - startMs).toBeGreaterThanOrEqual(1_000);
    }),
    { numRuns: 100, seed: 7 },
  );
});
