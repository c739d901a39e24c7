import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Pacer } from './pacer.service.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('lets few streams write with every frame, and many at most every 25 ms', () => {
  const pacer = new Pacer();
  expect(pacer.intervalMs).toBe(0);
  for (let streams = 0; streams < 16; streams += 1) pacer.join();
  expect(pacer.intervalMs).toBeCloseTo(6.4);
  for (let streams = 0; streams < 1_000; streams += 1) pacer.join();
  expect(pacer.intervalMs).toBe(25);
  for (let streams = 0; streams < 1_016; streams += 1) pacer.leave();
  expect(pacer.intervalMs).toBe(0);
});

it('delivers all that wait when the first is due, and begins anew', () => {
  const pacer = new Pacer();
  const delivered: string[] = [];
  const stream = (name: string) => ({ deliver: () => delivered.push(name) });
  const nowMs = performance.now();
  pacer.at(nowMs + 10, stream('a'));
  pacer.at(nowMs + 20, stream('b'));
  vi.advanceTimersByTime(9);
  expect(delivered).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(delivered).toEqual(['a', 'b']);
  pacer.at(performance.now() + 5, stream('c'));
  vi.advanceTimersByTime(5);
  expect(delivered).toEqual(['a', 'b', 'c']);
});
