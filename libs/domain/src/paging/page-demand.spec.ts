import { describe, expect, it } from 'vitest';

import { promptPages, promptSegments } from './page-demand.js';

const picture = { offset: 5, length: 312, imageTokens: 272 };

describe('promptPages', () => {
  it('rounds text to whole blocks', () => {
    expect(promptPages({ tokens: 17, pictures: [], capsulePages: undefined })).toEqual({
      peakPages: 16,
      restingPages: 16,
    });
  });

  it('counts every segment from a fresh block when spans stay raw', () => {
    // 5 tokens of text: 1 block; 312 of picture: 20; 13 of text: 1
    expect(promptPages({ tokens: 330, pictures: [picture], capsulePages: undefined })).toEqual({
      peakPages: 22 * 8,
      restingPages: 22 * 8,
    });
    expect(promptPages({ tokens: 330, pictures: [picture], capsulePages: { 17: 2 } }).restingPages).toBe(
      22 * 8,
    );
  });

  it('has its peak while raw span, capsule and marker rows stand side by side', () => {
    // capsule of 9 pages; 40 markers: 3 blocks
    expect(promptPages({ tokens: 330, pictures: [picture], capsulePages: { 272: 9 } })).toEqual({
      peakPages: (1 + 20 + 3) * 8 + 9,
      restingPages: (1 + 3 + 1) * 8 + 9,
    });
  });

  it('counts full runs of text as they are stored, and what is left raw', () => {
    const runs = { tokens: 64, pages: 17 };
    // text of 9, a raw picture of 300, text of 191: two runs and 63 tokens
    const prompt = { pictures: [{ ...picture, offset: 9, length: 300 }], capsulePages: undefined, runs };
    const restingPages = (1 + 19) * 8 + 2 * 17 + 4 * 8;
    expect(promptPages({ ...prompt, tokens: 9 + 300 + 191 })).toEqual({
      restingPages,
      peakPages: restingPages,
    });
    // the last run stands beside what it becomes
    expect(promptPages({ ...prompt, tokens: 9 + 300 + 128 })).toEqual({
      restingPages: (1 + 19) * 8 + 2 * 17,
      peakPages: (1 + 19) * 8 + 17 + 4 * 8 + 17,
    });
  });

  it('lets a long text after the pictures make the peak', () => {
    const { peakPages, restingPages } = promptPages({
      tokens: 2000,
      pictures: [picture],
      capsulePages: { 272: 9 },
    });
    expect(peakPages).toBe(restingPages);
  });
});

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
