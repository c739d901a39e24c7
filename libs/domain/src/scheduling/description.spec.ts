import { describe, expect, it } from 'vitest';

import { keptSpans } from './description.js';

describe('the spans of a prompt under pressure', () => {
  it('are its runs that were compressed, wherever they stand, and raw text around them', () => {
    const form = { codec: 'q8', profileId: '' };
    const run = {
      kind: 'stored',
      picture: undefined,
      pages: [1, 2, 3, 4, 5],
      format: 1,
      tokens: 16,
    } as const;
    const spans = keptSpans({
      parts: [
        { start: 0, length: 48, picture: undefined },
        { start: 48, length: 16, picture: 0 },
        { start: 64, length: 6, picture: undefined },
      ],
      pictures: [{ offset: 48, length: 16, restRows: [], stored: { format: 0, pages: 2 } }],
      ...{ promptTokens: 70, text: undefined, shape: { blockTokens: 16, pagesPerBlock: 8 } },
      textUnderPressure: { stored: { format: 1, pages: 5 }, tokens: 16, form },
      held: [
        { kind: 'raw', start: 0, picture: undefined, blocks: [1], tokens: 16, cached: 0 },
        { ...run, start: 16 },
        { ...run, start: 32 },
        { ...run, start: 48, picture: 0, pages: [6, 7], format: 0 },
        { kind: 'raw', start: 64, picture: undefined, blocks: [2], tokens: 6, cached: 0 },
      ],
    });
    expect(spans.map(({ start, tokens, format, pages }) => [start, tokens, format, pages])).toEqual([
      [0, 16, undefined, 8],
      [16, 16, 1, 5],
      [32, 16, 1, 5],
      [48, 16, 0, 2],
      [64, 6, undefined, 8],
    ]);
  });
});
