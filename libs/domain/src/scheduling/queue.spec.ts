import { describe, expect, it } from 'vitest';

import { SequenceQueue } from './queue.js';
import type { Sequence } from './sequence/sequence.js';

describe('a queue', () => {
  it('is in the order of priority and arrival, whenever who comes back', () => {
    const queue = new SequenceQueue();
    const sequences = [5, 1, 3, 0, 4].map((arrival) => ({ priority: arrival % 2, arrival }) as Sequence);
    for (const sequence of sequences) queue.insert(sequence);
    const order = () => queue.items.map(({ arrival }) => arrival);
    expect([order(), queue.last?.arrival, queue.size]).toEqual([[0, 4, 1, 3, 5], 5, 5]);
    queue.remove(sequences[1] as Sequence);
    queue.remove(sequences[1] as Sequence);
    expect(order()).toEqual([0, 4, 3, 5]);
    queue.insert(sequences[1] as Sequence);
    expect(order()).toEqual([0, 4, 1, 3, 5]);
  });
});
