import { describe, expect, it } from 'vitest';
import { costOn, heldOf, requestOf, viewOf } from '../../../testing/worker-views.js';
import { affinity } from './affinity.scorer.js';
import { home } from './rendezvous.js';

const fleet = (count: number) =>
  Array.from({ length: count }, (_, index) => viewOf({ id: `worker-${index}` }));
const SESSIONS = Array.from({ length: 2_000 }, (_, index) => `session ${index}`);
const homes = (count: number) => SESSIONS.map((session) => home(session, fleet(count))?.record.workerId);

describe('affinity', () => {
  const workers = fleet(5);
  const request = requestOf({ session: 's', pictures: 1, pictureTokens: 10 });
  const at = home('s', workers);

  it('costs nothing at home, and elsewhere half of what may lie there', () => {
    const cost = affinity.over(request, workers);
    expect(workers.map((worker) => costOn(cost, worker))).toEqual(
      workers.map((worker) => (worker === at ? 0 : 30)),
    );
  });

  it('guesses nothing of a worker of which it is known', () => {
    expect(costOn(affinity.over(request, workers), workers[0] ?? viewOf(), heldOf())).toBeUndefined();
  });

  it('says nothing of a request without a session', () => {
    expect(affinity.over(requestOf(), workers)).toBeUndefined();
  });
});

describe('homes', () => {
  it('are about as many on each worker', () => {
    const counts = Map.groupBy(homes(10), (id) => id);
    expect(counts.size).toBe(10);
    for (const { length } of counts.values()) expect(Math.abs(length - 200)).toBeLessThan(60);
  });

  it('move to a worker that comes, and no other, one in so many', () => {
    const [before, after] = [homes(10), homes(11)];
    const moved = after.filter((id, index) => id !== before[index]);
    expect(new Set(moved)).toEqual(new Set(['worker-10']));
    expect(Math.abs(moved.length - 2_000 / 11)).toBeLessThan(60);
  });

  it('do not depend on the order of workers, and are nowhere without one', () => {
    expect(home('s', fleet(9).reverse())?.record.workerId).toBe(home('s', fleet(9))?.record.workerId);
    expect(home('s', [])).toBeUndefined();
  });
});
