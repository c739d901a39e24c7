import { describe, expect, it } from 'vitest';

import { Deadlines } from './deadlines.js';

function watched() {
  const wakes: number[] = [];
  return { wakes, deadlines: new Deadlines((atMs) => wakes.push(atMs)) };
}

describe('Deadlines', () => {
  it('ask to be woken at the earliest, and again at the next one', () => {
    const { wakes, deadlines } = watched();
    deadlines.set('late', 30);
    deadlines.set('early', 10);
    deadlines.set('middle', 20);
    expect(wakes).toEqual([30, 10]);
    expect(deadlines.due(10)).toEqual(['early']);
    expect(wakes).toEqual([30, 10, 20]);
    expect(deadlines.due(40)).toEqual(['middle', 'late']);
    expect(wakes).toHaveLength(3);
  });

  it('find nothing due before its time, and ask again', () => {
    const { wakes, deadlines } = watched();
    deadlines.set('a', 10);
    expect(deadlines.due(9.9)).toEqual([]);
    expect(wakes).toEqual([10, 10]);
  });

  it('forget what is cleared', () => {
    const { wakes, deadlines } = watched();
    deadlines.set('a', 10);
    deadlines.clear('a');
    expect(deadlines.due(10)).toEqual([]);
    deadlines.set('b', 50);
    expect(wakes).toEqual([10, 50]);
  });
});
