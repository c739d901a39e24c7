import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { describe, expect, it } from 'vitest';
import { DrainWait, sightIn } from './drain-wait.js';

const snapshot = (workers: readonly object[], isAnswering = true) =>
  ({ workers, router: { store_answers: isAnswering } }) as unknown as ClusterSnapshot;
const worker = (state: string, running: number) => ({ id: 'w', state, running, waiting: 0 });
const seen = (state: string, running: number) => sightIn(snapshot([worker(state, running)]), 'w');

describe('waiting for a worker that drains', () => {
  it('ends when it has nothing left, and tells each count once', () => {
    const wait = new DrainWait('w');
    expect(wait.next(seen('draining', 2))).toEqual({ isOver: false, line: '2 running, 0 waiting' });
    expect(wait.next(seen('draining', 2))).toEqual({ isOver: false });
    expect(wait.next(seen('draining', 0))).toEqual({ isOver: true });
  });

  it('takes nothing for its end that it had said before it was asked to drain', () => {
    const wait = new DrainWait('w');
    expect(wait.next(seen('ready', 0))).toEqual({ isOver: false });
    expect(wait.next(seen('draining', 1)).isOver).toBe(false);
  });

  it('ends with a fault where it takes requests again', () => {
    const wait = new DrainWait('w');
    wait.next(seen('draining', 1));
    expect(() => wait.next(seen('ready', 1))).toThrow('takes requests again');
  });

  it('ends where the worker has gone, and not where a router without Redis has not heard of it', () => {
    expect(new DrainWait('w').next(sightIn(snapshot([]), 'w')).isOver).toBe(true);
    expect(new DrainWait('w').next(sightIn(snapshot([], false), 'w'))).toEqual({
      isOver: false,
      line: 'the router does not know: Redis does not answer',
    });
  });
});
