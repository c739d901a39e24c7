import { describe, expect, it } from 'vitest';

import { Flights, Slots } from './flights.js';

describe('Flights', () => {
  it('let those that want the same wait for its end, each once, then begin anew', () => {
    const flights = new Flights();
    const woken: string[] = [];
    const join = (name: string, who: string) => flights.join(name, () => woken.push(who));
    expect(join('x', 'early')).toBe(false);
    const land = flights.start('x');
    expect([join('x', 'a'), join('x', 'b'), join('y', 'c')]).toEqual([true, true, false]);
    expect(woken).toEqual([]);
    land();
    expect(woken).toEqual(['a', 'b']);
    expect(join('x', 'late')).toBe(false);
  });

  it('are over when those that waited look again: one of them may begin the next', () => {
    const flights = new Flights();
    const land = flights.start('x');
    let next: (() => void) | undefined;
    const seen: string[] = [];
    flights.join('x', () => {
      next = flights.start('x');
    });
    flights.join('x', () => seen.push(flights.join('x', () => seen.push('again')) ? 'joined' : 'alone'));
    land();
    next?.();
    expect(seen).toEqual(['joined', 'again']);
  });
});

describe('Slots', () => {
  it('let in as many as there are, then one for each that leaves, in order', () => {
    const slots = new Slots(2);
    const entered: string[] = [];
    for (const name of ['a', 'b', 'c', 'd']) slots.enter(() => entered.push(name));
    expect(entered).toEqual(['a', 'b']);
    slots.leave();
    expect(entered).toEqual(['a', 'b', 'c']);
    for (let times = 0; times < 3; times += 1) slots.leave();
    expect(entered).toEqual(['a', 'b', 'c', 'd']);
    // all have left: both places are free again, and no more than both
    for (const name of ['e', 'f', 'g']) slots.enter(() => entered.push(name));
    expect(entered.slice(4)).toEqual(['e', 'f']);
  });
});
