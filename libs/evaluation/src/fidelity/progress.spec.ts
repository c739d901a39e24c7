import { expect, it } from 'vitest';
import { Progress } from './progress.js';

it('says how much is done, how long it took and how long it will', () => {
  let nowMs = 0;
  const progress = new Progress(4, () => nowMs);
  nowMs = 30_000;
  expect(progress.advance()).toBe('1/4 (25 %), 30 s, 1 min 30 s to go');
  nowMs = 4_000_000;
  expect(progress.advance()).toBe('2/4 (50 %), 1 h 6 min, 1 h 6 min to go');
});
