import { RebuildCosts } from '@kvcapsule/domain/eviction';
import type { ScheduledStep } from '@kvcapsule/domain/scheduling';
import { expect, it } from 'vitest';

import { measure } from './measure.js';

const chunksOf = (...rows: number[]) =>
  rows.map((count) => ({ rows: count })) as unknown as ScheduledStep['chunks'];
const compress = (pages: number[]) => ({ kind: 'compress', pages }) as unknown as ScheduledStep['changes'][0];

it('learns the seconds of a row from steps of prefill, and those of a page from what they compress', () => {
  const costs = new RebuildCosts();
  const step = { chunks: chunksOf(90, 1, 9), changes: [compress([1, 2, 3]), compress([4])], rows: 100 };
  measure(costs, step, { seconds: 0.7, compressSeconds: 0.2 });
  expect(costs.prefillSeconds).toBeCloseTo(0.005, 9);
  expect(costs.compressionSeconds).toBeCloseTo(0.05, 9);
});

it.each([
  ['rows that are few', chunksOf(31)],
  ['rows that are mostly answers', chunksOf(40, ...Array<number>(41).fill(1))],
  ['nothing', chunksOf()],
])('learns nothing from %s', (_, chunks) => {
  const costs = new RebuildCosts();
  const before = costs.prefillSeconds;
  const rows = chunks.reduce((sum, chunk) => sum + chunk.rows, 0);
  measure(costs, { chunks, changes: [], rows }, { seconds: 9, compressSeconds: 0 });
  expect(costs.prefillSeconds).toBe(before);
});
