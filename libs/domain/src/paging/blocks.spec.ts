import { describe, expect, it } from 'vitest';

import { promptSegments } from './blocks.js';

describe('promptSegments', () => {
  it('cuts at every picture and leaves out empty texts', () => {
    expect(
      promptSegments(20, [
        { offset: 0, length: 4 },
        { offset: 4, length: 6 },
      ]),
    ).toEqual([
      { start: 0, length: 4, picture: 0 },
      { start: 4, length: 6, picture: 1 },
      { start: 10, length: 10, picture: undefined },
    ]);
  });

  it('refuses spans that overlap or leave the prompt', () => {
    expect(() => promptSegments(9, [{ offset: 4, length: 6 }])).toThrow(RangeError);
    expect(() =>
      promptSegments(9, [
        { offset: 0, length: 4 },
        { offset: 3, length: 2 },
      ]),
    ).toThrow(RangeError);
  });
});
