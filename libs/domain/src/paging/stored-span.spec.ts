import { describe, expect, it } from 'vitest';

import { promptPages, storedPrompt, storedRuns, storedSpan, type StorageFormat } from './index.js';

const none = { markerTokens: 0, pages: 0, headerBytes: 0, bytesPerToken: 0 };
const FORMATS: readonly StorageFormat[] = [
  { ...none, codec: 'q8', tokens: 0, headerBytes: 64, bytesPerToken: 10 },
  { ...none, codec: 'capsule', tokens: 40, pages: 5 },
  { ...none, codec: 'capsule', tokens: 44, markerTokens: 4, pages: 2 },
  { ...none, codec: 'capsule', tokens: 40, pages: 3 },
];
const stored = (codec: string, length: number, imageTokens: number) =>
  storedSpan(FORMATS, codec, { length, imageTokens }, 100);

describe('storedSpan', () => {
  it('takes the last format of the codec that covers the span as it is', () => {
    expect(stored('capsule', 42, 40)).toEqual({ pages: 3, restTokens: 2 });
    expect(stored('capsule', 44, 40)).toEqual({ pages: 3, restTokens: 4 });
    expect(storedSpan(FORMATS.slice(0, 3), 'capsule', { length: 44, imageTokens: 40 }, 100)).toEqual({
      ...{ pages: 2, restTokens: 0 },
    });
    expect(stored('capsule', 45, 41)).toBeUndefined();
  });

  it('counts bytes where any number of rows will do', () => {
    expect(stored('q8', 42, 40)).toEqual({ pages: Math.ceil((64 + 420) / 100), restTokens: 0 });
  });

  it('leaves spans raw under raw and unknown codecs', () => {
    expect([stored('raw', 42, 40), stored('q4', 42, 40)]).toEqual([undefined, undefined]);
  });
});

describe('storedRuns', () => {
  // the demo model's page, and what a token of it takes
  const rows = (bytesPerToken: number) => [
    { codec: 'q8', tokens: 0, headerBytes: 64, bytesPerToken: 0 },
    { codec: 'q4', tokens: 0, headerBytes: 64, bytesPerToken },
  ];
  const runsOf = (bytesPerToken: number) => storedRuns(rows(bytesPerToken), 'q4', 6_144, { blockTokens: 16 });

  it.each([
    [24 * 66, { format: 1, tokens: 64, pages: 17 }],
    [24 * 36, { format: 1, tokens: 48, pages: 7 }],
    // one block in one page, and its header with it: longer runs are no better
    [6_080 / 16, { format: 1, tokens: 16, pages: 1 }],
  ])('of %i bytes a token are as many blocks as hold most of them in a page', (bytesPerToken, runs) => {
    expect(runsOf(bytesPerToken)).toEqual(runs);
  });

  it('are none where the codec is for pictures only', () => {
    expect(storedRuns(FORMATS, 'capsule', 100, { blockTokens: 16 })).toBeUndefined();
    expect(storedRuns(FORMATS, 'raw', 100, { blockTokens: 16 })).toBeUndefined();
  });
});

describe('storedPrompt', () => {
  it('counts capsules, the rows beside them, and raw spans', () => {
    const pictures = [
      { offset: 5, length: 42, stored: { pages: 3, restTokens: 2 } },
      { offset: 47, length: 33, stored: undefined },
    ];
    // blocks: text 1, markers 1, raw span 3, text 1
    expect(promptPages(storedPrompt(90, pictures)).restingPages).toBe(6 * 8 + 3);
  });
});
