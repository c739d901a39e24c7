import { createHash } from 'node:crypto';

import { expect, it } from 'vitest';

import { keeperOf } from './keeper.js';

const name = (id: number) => createHash('sha256').update(`${id}`).digest().subarray(0, 16);

it('is one of those that hold a name, whoever asks in whichever order', () => {
  for (let id = 0; id < 100; id += 1) {
    const keeper = keeperOf(name(id), ['a', 'b', 'c']);
    expect(['a', 'b', 'c']).toContain(keeper);
    expect(keeperOf(name(id), ['c', 'a', 'b'])).toBe(keeper);
    expect(
      keeperOf(
        name(id),
        ['c', 'a', 'b'].filter((each) => each !== keeper),
      ),
    ).not.toBe(keeper);
  }
  expect(keeperOf(name(0), [])).toBeUndefined();
});

it('is each of the workers for about as many names', () => {
  const workers = ['worker-0', 'worker-1', 'worker-2', 'worker-3'];
  const kept = new Map(workers.map((worker) => [worker, 0]));
  for (let id = 0; id < 4_000; id += 1) {
    const keeper = keeperOf(name(id), workers)!;
    kept.set(keeper, (kept.get(keeper) ?? 0) + 1);
  }
  for (const count of kept.values()) expect(Math.abs(count - 1_000)).toBeLessThan(150);
});
