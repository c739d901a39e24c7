import { afterEach, expect, it, vi } from 'vitest';

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it('asks again where nothing answers, not even the head of an answer', async () => {
  vi.useFakeTimers();
  vi.stubGlobal('sessionStorage', { getItem: () => null });
  vi.stubGlobal('document', { hidden: false, addEventListener: () => undefined });
  const ask = vi.fn(
    (_path: string, { signal }: { signal: AbortSignal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      }),
  );
  vi.stubGlobal('fetch', ask);
  const { connection, follow } = await import('./cluster-stream.js');
  void follow();
  await vi.advanceTimersByTimeAsync(20_000);
  expect([ask.mock.calls.length, connection.value]).toEqual([1, 'connecting']);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask.mock.calls.length).toBeGreaterThan(1);
  expect(connection.value).toBe('lost');
});
