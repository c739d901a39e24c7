import { describe, expect, it } from 'vitest';

import { textRuns } from './text-runs.js';

describe('textRuns', () => {
  // the demo model's page, and what a token of it takes
  const rows = (bytesPerToken: number) => [
    { codec: 'q8', tokens: 0, headerBytes: 64, bytesPerToken: 0 },
    { codec: 'q4', tokens: 0, headerBytes: 64, bytesPerToken },
  ];
  const runsOf = (bytesPerToken: number) =>
    textRuns({ formats: rows(bytesPerToken), pageBytes: 6_144, blockTokens: 16 }, 'q4');

  it.each([
    [24 * 66, { format: 1, tokens: 64, pages: 17 }],
    [24 * 36, { format: 1, tokens: 48, pages: 7 }],
    // one block in one page, and its header with it: longer runs are no better
    [6_080 / 16, { format: 1, tokens: 16, pages: 1 }],
  ])('of %i bytes a token are as many blocks as hold most of them in a page', (bytesPerToken, runs) => {
    expect(runsOf(bytesPerToken)).toEqual(runs);
  });

  it('are none where the codec is for pictures only', () => {
    const capsule = { codec: 'capsule', tokens: 40, headerBytes: 0, bytesPerToken: 0 };
    const offer = { formats: [capsule], pageBytes: 100, blockTokens: 16 };
    expect(textRuns(offer, 'capsule')).toBeUndefined();
    expect(textRuns(offer, 'raw')).toBeUndefined();
  });
});
