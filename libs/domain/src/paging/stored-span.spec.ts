import { describe, expect, it } from 'vitest';

import { promptPages, storedPrompt, storedSpan, type StorageFormat } from './index.js';

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
