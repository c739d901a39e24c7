import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Telemetry } from './telemetry.service.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('counts streams of which no token has come for half a minute', () => {
  const telemetry = new Telemetry();
  const [moving, silent, waiting] = ['demo', 'demo', 'other'].map((model) => telemetry.observe(model));
  moving?.started();
  silent?.started();
  const stalled = () => [telemetry.running, telemetry.stalled(performance.now())];
  vi.advanceTimersByTime(30_000);
  moving?.appended(performance.now());
  expect(stalled()).toEqual([2, 0]);
  vi.advanceTimersByTime(1);
  expect(stalled()).toEqual([2, 1]);
  silent?.ended(undefined);
  waiting?.ended(undefined);
  expect(stalled()).toEqual([1, 0]);
});

it('measures the gap between two tokens where the stream went on with another worker', async () => {
  const telemetry = new Telemetry();
  const stream = telemetry.observe('demo');
  stream.started();
  stream.appended(performance.now());
  vi.advanceTimersByTime(2_000);
  stream.started();
  vi.advanceTimersByTime(1_000);
  stream.appended(performance.now());
  const { values } = await telemetry.metrics.interTokenLatency.get();
  expect(values.find(({ metricName }) => metricName?.endsWith('_sum'))?.value).toBeCloseTo(3);
});
