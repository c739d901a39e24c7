import { afterEach, expect, it, vi } from 'vitest';
import { Feed } from './feed.js';

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it('asks again where nothing answers, not even the head of an answer', async () => {
  vi.useFakeTimers();
  vi.stubGlobal('addEventListener', () => undefined);
  vi.stubGlobal('removeEventListener', () => undefined);
  const ask = vi.fn(
    (_path: string, { signal }: { signal: AbortSignal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      }),
  );
  vi.stubGlobal('fetch', ask);
  const states: string[] = [];
  const feed = new Feed('x', '', { state: (state) => states.push(state), event: () => undefined });
  await vi.advanceTimersByTimeAsync(10_000);
  expect([ask.mock.calls.length, states]).toEqual([1, ['connecting']]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask.mock.calls.length).toBeGreaterThan(1);
  expect(states.at(-1)).toBe('lost');
  feed.stop();
});
