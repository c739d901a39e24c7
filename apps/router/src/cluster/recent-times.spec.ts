import { expect, it } from 'vitest';
import { RecentTimes } from './recent-times.js';

it('tells quantiles of the newest values that are new enough', () => {
  const times = new RecentTimes(100);
  expect(times.quantiles(0)).toEqual({ p50: null, p95: null });
  for (let value = 1; value <= 150; value += 1) times.add(value, value);
  // 51 to 150 are left
  expect(times.quantiles(0)).toEqual({ p50: 100, p95: 145 });
  expect(times.quantiles(131)).toEqual({ p50: 140, p95: 149 });
  expect(times.quantiles(151)).toEqual({ p50: null, p95: null });
});
