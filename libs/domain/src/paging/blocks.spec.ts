import { describe, expect, it } from 'vitest';

import { promptSegments, rawBlocks } from './blocks.js';

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

  it('has text before, between and behind pictures, where there is any', () => {
    const text = { picture: undefined };
    expect(
      promptSegments(12, [
        { offset: 3, length: 1 },
        { offset: 6, length: 6 },
      ]),
    ).toEqual([
      { start: 0, length: 3, ...text },
      { start: 3, length: 1, picture: 0 },
      { start: 4, length: 2, ...text },
      { start: 6, length: 6, picture: 1 },
    ]);
  });

  it.each([
    ['leave the prompt', [{ offset: 4, length: 6 }]],
    ['hold nothing', [{ offset: 4, length: 0 }]],
    [
      'overlap',
      [
        { offset: 0, length: 4 },
        { offset: 3, length: 2 },
      ],
    ],
  ])('refuses spans that %s', (_, spans) => {
    expect(() => promptSegments(9, spans)).toThrow(RangeError);
  });
});

describe('rawBlocks', () => {
  it('rounds up to whole blocks', () => {
    const shape = { blockTokens: 4, pagesPerBlock: 2 };
    expect([0, 1, 4, 5].map((tokens) => rawBlocks(tokens, shape))).toEqual([0, 1, 1, 2]);
  });
});
