import { performance } from 'node:perf_hooks';

import type { Counter } from 'prom-client';

import type { PlainHistogram } from './histogram.js';

const INTERVAL_MS = 100;

interface LoopMetrics {
  readonly eventLoopLag: PlainHistogram;
  readonly eventLoopBusy: Counter;
}

/** Measures this process's event loop until the returned function is called. */
export function watchEventLoop({ eventLoopLag, eventLoopBusy }: LoopMetrics): () => void {
  let dueMs = performance.now() + INTERVAL_MS;
  let used = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    eventLoopLag.observe(Math.max(0, nowMs - dueMs) / 1_000);
    dueMs = nowMs + INTERVAL_MS;
    const before = used;
    used = performance.eventLoopUtilization();
    eventLoopBusy.inc(Math.max(0, used.active - before.active) / 1_000);
  }, INTERVAL_MS).unref();
  return () => {
    clearInterval(timer);
  };
}
