import type { ClusterDelta, ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { describe, expect, it } from 'vitest';
import { merge, ordered } from './merge.js';

const worker = (id: string, running = 0) => ({ id, running }) as ClusterSnapshot['workers'][number];
const request = (serial: number, ended_at: number | null = null) =>
  ({ serial, ended_at }) as ClusterSnapshot['requests'][number];
const point = (at: number) => ({ at }) as ClusterSnapshot['history'][number];
const delta = (parts: Partial<ClusterDelta>): ClusterDelta => ({ object: 'cluster.delta', at: 2, ...parts });

const known = {
  ...{ object: 'cluster', at: 1, router: { routers: 1 }, totals: { queued: 0 } },
  ...{ workers: [worker('a'), worker('b')], requests: [request(2), request(1)], history: [point(1)] },
} as unknown as ClusterSnapshot;

describe('workers', () => {
  it('stand in the order of their names, numbers as numbers, also where one comes', () => {
    const snapshot = ordered({ ...known, workers: ['w-10', 'w-9'].map((id) => worker(id)) });
    expect(snapshot.workers.map(({ id }) => id)).toEqual(['w-9', 'w-10']);
    const { workers } = merge(snapshot, delta({ workers: [worker('w-1'), worker('w-9', 3)] }));
    expect(workers.map(({ id }) => id)).toEqual(['w-1', 'w-9', 'w-10']);
  });
});

describe('a delta', () => {
  it('replaces what has changed in its place, adds what is new and drops what has gone', () => {
    const { workers, at } = merge(
      known,
      delta({ workers: [worker('b', 5), worker('c')], gone_workers: ['a'] }),
    );
    expect([workers, at]).toEqual([[worker('b', 5), worker('c')], 2]);
  });

  it('leaves what it does not name as it is, down to its identity', () => {
    const next = merge(known, delta({ totals: { queued: 3 } as ClusterSnapshot['totals'] }));
    expect(next.totals.queued).toBe(3);
    expect([next.workers, next.requests, next.history, next.router]).toEqual([
      ...[known.workers, known.requests, known.history, known.router],
    ]);
    expect(next.workers).toBe(known.workers);
    expect(merge(known, delta({ workers: [worker('b', 5)] })).workers[0]).toBe(known.workers[0]);
  });

  it('brings requests, those in flight first and the newest of each part first', () => {
    const { requests } = merge(known, delta({ requests: [request(3), request(2, 9)], gone_requests: [1] }));
    expect(requests.map(({ serial }) => serial)).toEqual([3, 2]);
    const again = merge(known, delta({ requests: [request(4, 9), request(3, 8)] }));
    expect(again.requests.map(({ serial }) => serial)).toEqual([2, 1, 4, 3]);
  });

  it('goes behind the history once, which keeps five minutes', () => {
    const points = Array.from({ length: 200 }, (_, at) => point(at));
    const { history } = merge(known, delta({ points }));
    expect([history.length, history[0]?.at, history.at(-1)?.at]).toEqual([150, 50, 199]);
    expect(merge(known, delta({ points: [point(1)] })).history).toEqual([point(1)]);
  });
});
