import { describe, expect, it } from 'vitest';

import { Pace } from './pace.js';

/** What a pace allows after steps that took as long as their rows need. */
function after(msPerRow: number, steps: number): number[] {
  const pace = new Pace();
  return Array.from({ length: steps }, () => {
    pace.landed(pace.rows, pace.rows * msPerRow);
    return pace.rows;
  });
}

describe('Pace', () => {
  it('begins with few rows, and grows twofold a step to what two seconds are enough for', () => {
    expect(new Pace().rows).toBe(256);
    expect(after(1, 5)).toEqual([512, 1024, 2000, 2000, 2000]);
  });

  it('falls at once to what two seconds are enough for, and no further than what products need', () => {
    expect(after(10, 2)).toEqual([200, 200]);
    expect(after(1000, 2)).toEqual([128, 128]);
  });

  it('learns nothing from steps of few rows', () => {
    const pace = new Pace();
    pace.landed(127, 60_000);
    expect(pace.rows).toBe(256);
    pace.landed(128, 60_000);
    expect(pace.rows).toBe(128);
  });

  it('takes a step of no measurable time for a fast one', () => {
    const pace = new Pace();
    pace.landed(2048, 0);
    expect(pace.rows).toBe(4096);
  });
});
