import type { KeptSpan } from '@kvcapsule/domain/scheduling';
import { FakeEngine } from '@kvcapsule/testing/engine';
import { describe, expect, it } from 'vitest';

import type { Generation } from './generation.js';
import { usageOf } from './usage.js';

/** Pages of 64 bytes; a token's raw row takes 32. */
const { info: geometry } = new FakeEngine(8, [
  { tokens: 0, bytesPerToken: 17 },
  { tokens: 40, pages: 3 },
]);
const GENERATION = {
  ...{ promptTokens: 150, completionTokens: 7, cachedTokens: 16 },
  pictures: [{ length: 42 }, { length: 10 }],
} as unknown as Generation;

const span = (of: Partial<KeptSpan>): KeptSpan => ({
  ...{ start: 0, tokens: 1, picture: undefined, format: undefined, restTokens: 0, pages: 8 },
  ...of,
});

describe('usageOf', () => {
  it('counts pages of the whole prompt, those of pictures apart, beside what raw rows would take', () => {
    const kept = [
      span({ pages: 8 }),
      span({ picture: 0, format: 1, pages: 11 }),
      span({ picture: 1, pages: 8 }),
      span({ pages: 16 }),
    ];
    expect(usageOf(GENERATION, kept, geometry)).toEqual({
      ...{ promptTokens: 150, completionTokens: 7, cachedTokens: 16 },
      kv: {
        ...{ codec: 'capsule', bytes: 43 * 64, rawBytes: 150 * 32 },
        pictures: { bytes: 19 * 64, rawBytes: 52 * 32 },
      },
    });
  });

  it('names the codec of a picture before that of text, and raw only where nothing is stored', () => {
    const codecOf = (kept: readonly KeptSpan[]) => usageOf(GENERATION, kept, geometry).kv.codec;
    const [text, picture, raw] = [span({ format: 0 }), span({ picture: 0, format: 1 }), span({ picture: 1 })];
    expect(codecOf([text, picture])).toBe('capsule');
    expect(codecOf([raw, text])).toBe('q8');
    expect(codecOf([raw, span({})])).toBe('raw');
    expect(codecOf([])).toBe('raw');
  });
});
