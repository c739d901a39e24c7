import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { TurnGate } from './turn-gate.js';

let nowMs = 0;

beforeEach(() => {
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Requests that take so long each, all there at once; the turns in which they came in. */
async function turnsOf(costsMs: readonly number[]): Promise<number[]> {
  const gate = new TurnGate();
  const turns: number[] = [];
  let now = 0;
  const request = async (costMs: number) => {
    await gate.enter('t');
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
  const gate = new TurnGate();
  expect(gate.enter('t')).toBeUndefined();
  nowMs += 40;
  const second = gate.enter('t');
  expect(second).toBeDefined();
  await second;
  nowMs += 3;
  expect(gate.enter('t')).toBeUndefined();
  nowMs += 50;
  expect(gate.enter('t')).toBeUndefined();
});

it('lets tenants take turns, whoever has how many that wait', async () => {
  const gate = new TurnGate();
  const passed: string[] = [];
  const enter = async (name: string) => {
    await gate.enter(name.charAt(0));
    passed.push(name);
  };
  const first = enter('n0');
  nowMs += 9;
  const others = ['n1', 'n2', 'n3', 'n4', 'q1', 'q2', 'r1'].map(enter);
  await Promise.all([first, ...others]);
  expect(passed).toEqual(['n0', 'n1', 'q1', 'r1', 'n2', 'q2', 'n3', 'n4']);
});

it('lets nobody pass those of its tenant that wait', async () => {
  const gate = new TurnGate();
  const passed: string[] = [];
  const enter = async (name: string) => {
    await gate.enter('t');
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
