import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { describe, expect, it } from 'vitest';
import { statusScreen } from './screen.js';

const held = {
  raw: 8,
  capsule: 24,
  cached: 16,
  free: 112,
  swapped: 0,
  stored_bytes: 2 ** 20,
  raw_bytes: 2 ** 23,
};
const workers: ClusterSnapshot['workers'] = Array.from({ length: 9 }, (_, at) => ({
  ...{ id: `worker-${at}`, epoch: 1, model: 'emoji-vlm', address: null, state: 'ready', breaker: 'closed' },
  ...{ codec: 'capsule', running: 1, waiting: 0, max_running: 64, pages: 160, page_bytes: 6_144 },
  ...{ leased_pages: 40, held, tokens_per_second: 12, silent_seconds: 0 },
}));
const SNAPSHOT: ClusterSnapshot = {
  ...{ object: 'cluster', at: 100, workers, requests: [], history: [] },
  router: { started_at: 40, draining: true, routers: 1, store_answers: true },
  totals: {
    workers: { ready: 9, draining: 0, failed: 0, stalled: 0, away: 0 },
    ...{ running: 9, waiting: 0, queued: 0, pages: 1_440, leased_pages: 360, held, saved_bytes: 7 * 2 ** 20 },
    tokens_per_second: 108,
  },
};
const linesOf = (columns: number, rows = Infinity) =>
  statusScreen(SNAPSHOT, 'http://127.0.0.1:8000', { columns, rows }).trimEnd().split('\n');

describe('the screen of status', () => {
  it('has every column where there is room, and in a pipe', () => {
    const whole = statusScreen(SNAPSHOT, 'http://127.0.0.1:8000');
    expect(whole).toContain('WORKER    MODEL      STATE  RUNNING  WAITING  LEASED  RAW  CAPSULE  CACHED');
    expect(linesOf(200).join('\n')).toBe(whole.trimEnd());
  });

  it.each([120, 100, 80, 60, 40, 20, 8])(
    'breaks no line in %i columns, and keeps what matters most',
    (columns) => {
      const lines = linesOf(columns);
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
      const table = lines.slice(lines.indexOf('') + 1);
      expect(table).toHaveLength(10);
      if (columns >= 20)
        for (const [at, line] of table.slice(1).entries())
          expect(line).toMatch(new RegExp(`^worker-${at} .*ready`));
      if (columns >= 80)
        for (const title of ['RUNNING', 'LEASED', 'TOKENS/S']) expect(table[0]).toContain(title);
    },
  );

  it('scrolls nothing away where a terminal has few lines: it says how many are left out', () => {
    const lines = linesOf(200, 8);
    expect(lines).toHaveLength(7);
    expect(lines.slice(-2)).toEqual([expect.stringContaining('worker-1'), '7 lines more']);
  });
});
