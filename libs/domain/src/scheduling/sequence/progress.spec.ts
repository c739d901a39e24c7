import { describe, expect, it } from 'vitest';

import { picture } from '../../testing/request-scripts.js';
import type { ScheduledPicture, ScheduledRequest } from '../step.js';
import { Progress } from './progress.js';

const SHAPE = { blockTokens: 16, pagesPerBlock: 8 };
const of = (request: Partial<ScheduledRequest>, at: Partial<Pick<Progress, 'computed' | 'generated'>> = {}) =>
  Object.assign(new Progress({ id: 'a', promptTokens: 40, pictures: [], ...request }, SHAPE), at);

describe('how far a sequence is', () => {
  it('has text at its end, where the answer goes on', () => {
    expect(of({ pictures: [picture(20, 20, 0, 3)] }).parts).toEqual([
      { start: 0, length: 20, picture: undefined },
      { start: 20, length: 20, picture: 0 },
      { start: 40, length: 0, picture: undefined },
    ]);
    expect(of({ pictures: [picture(0, 20, 0, 3)] }).parts).toHaveLength(2);
  });

  it.each([
    ['nothing is computed', 0, 0, false],
    ['one token of the prompt is missing', 39, 0, false],
    ['the prompt is computed and has drawn a token', 40, 1, true],
    ['it is computed again, its answer with it', 20, 30, false],
    ['one token of what it had is missing', 69, 30, true],
    ['nothing is missing', 70, 30, false],
  ])('decodes or does not where %s', (_, computed, generated, decodes) => {
    expect(of({}, { computed, generated }).decoding).toBe(decodes);
  });

  it('ends before the last token that the answer may have', () => {
    expect([
      of({ maxTokens: 3 }, { generated: 3 }).totalTokens,
      of({}, { generated: 3 }).totalTokens,
    ]).toEqual([42, 43]);
  });

  it('knows the first picture that is not wholly computed', () => {
    const progress = of({ pictures: [picture(0, 10, 0, 3), picture(20, 10, 0, 3)] });
    expect([0, 9, 10, 29, 30].map((tokens) => progress.pictureAfter(tokens))).toEqual([0, 0, 1, 1, 2]);
  });

  it('has rows up to the end of the next span that is stored', () => {
    const pictures = [picture(5, 10, 0, undefined), picture(20, 10, 0, 3)];
    const rows = [0, 7, 29, 30, 35].map((computed) => of({ pictures }, { computed }).rowsInStep);
    expect(rows).toEqual([30, 23, 1, 10, 5]);
  });
});

describe('a picture under pressure', () => {
  const form = { codec: 'capsule', profileId: 'p' };
  const underPressure = { stored: { format: 3, pages: 2 }, restRows: [0], form };
  const content = { codec: 'raw', profileId: '', contentSha256: Uint8Array.of(1) };
  const plain = picture(0, 10, 0, undefined);
  const pictures: readonly ScheduledPicture[] = [
    { ...plain, underPressure },
    { ...plain, offset: 10, underPressure, content },
    { ...plain, offset: 20 },
  ];

  it('is kept in its other form from then on, and named by that, and it alone', () => {
    const progress = of({ pictures });
    progress.press(1);
    const { stored, restRows } = underPressure;
    const pressed = { offset: 10, length: 10, stored, restRows, content: { ...content, ...form } };
    expect(progress.pictures).toEqual([pictures[0], pressed, pictures[2]]);
    progress.press(0);
    progress.press(2);
    expect(progress.pictures).toEqual([{ offset: 0, length: 10, stored, restRows }, pressed, pictures[2]]);
    expect(progress.pictures[0]).not.toHaveProperty('content');
  });
});
