import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { createMetrics, watchEventLoop } from './index.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

it('says how late what is due runs, and how busy the loop was, until it is stopped', async () => {
  const metrics = createMetrics('worker');
  const nowMs = vi.spyOn(performance, 'now').mockReturnValue(1_000);
  const stop = watchEventLoop(metrics);
  nowMs.mockReturnValue(1_130);
  vi.advanceTimersByTime(100);
  nowMs.mockReturnValue(1_230);
  vi.advanceTimersByTime(100);
  stop();
  vi.advanceTimersByTime(1_000);
  nowMs.mockRestore();
  const { values } = await metrics.eventLoopLag.get();
  const of = (name: string, le?: number) =>
    values.find(({ metricName, labels }) => metricName?.endsWith(name) && (labels['le'] ?? 0) === (le ?? 0))
      ?.value;
  expect([of('_bucket', 0.025), of('_bucket', 0.05), of('_count')]).toEqual([1, 2, 2]);
  expect(of('_sum')).toBeCloseTo(0.03);
  expect((await metrics.eventLoopBusy.get()).values[0]?.value).toBeGreaterThanOrEqual(0);
});
