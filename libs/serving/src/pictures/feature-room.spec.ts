import { describe, expect, it } from 'vitest';

import { FeatureRoom } from './feature-room.js';

describe('FeatureRoom', () => {
  it('lets requests in one after the other, whole, and one that is too large alone', () => {
    const room = new FeatureRoom(10);
    const entered: string[] = [];
    const enter = (name: string, bytes: number): void => {
      room.take(bytes, () => entered.push(name));
    };
    enter('a', 6);
    enter('large', 30);
    enter('b', 4);
    expect(entered).toEqual(['a']);
    room.give(6);
    expect([entered, room.takenBytes]).toEqual([['a', 'large'], 30]);
    room.give(30);
    expect([entered, room.takenBytes]).toEqual([['a', 'large', 'b'], 4]);
    room.give(4);
    expect(room.takenBytes).toBe(0);
  });

  it('lets any number through that give their room back at once', () => {
    const room = new FeatureRoom(10);
    let entered = 0;
    room.take(10, () => undefined);
    for (let index = 0; index < 50_000; index += 1)
      room.take(10, () => {
        entered += 1;
        room.give(10);
      });
    room.give(10);
    expect([entered, room.takenBytes]).toEqual([50_000, 0]);
  });
});
