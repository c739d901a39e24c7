import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { RepeatedFaults } from './index.js';

const lines: { msg: string; times?: number; err: { message: string } }[] = [];
const faults = () =>
  new RepeatedFaults(
    pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[0]) }),
  );

beforeEach(() => {
  lines.length = 0;
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

it('tells a fault that repeats itself twice: at once, and with its count', () => {
  const log = faults();
  for (let i = 0; i < 52; i += 1) log.warn(new Error(`fault ${i}`), 'a lease was not resized');
  log.warn(new Error('other'), 'a lease was not released');
  expect(lines.map(({ msg }) => msg)).toEqual(['a lease was not resized', 'a lease was not released']);
  vi.advanceTimersByTime(60_000);
  expect(lines).toHaveLength(3);
  expect(lines[2]).toMatchObject({ msg: 'a lease was not resized', times: 51, err: { message: 'fault 51' } });
  log.warn(new Error('again'), 'a lease was not resized');
  expect(lines).toHaveLength(4);
});
