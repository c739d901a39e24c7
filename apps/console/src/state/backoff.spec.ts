import { expect, it } from 'vitest';
import { backoffMs } from './backoff.js';

it('doubles from half a second to fifteen, half of it by chance', () => {
  expect([1, 2, 3, 50].map((failures) => backoffMs(failures, 1))).toEqual([500, 1_000, 2_000, 15_000]);
  expect(backoffMs(1, 0)).toBe(250);
});
