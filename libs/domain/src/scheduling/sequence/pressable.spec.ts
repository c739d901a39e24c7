import { describe, expect, it } from 'vitest';

import { picture } from '../../testing/request-scripts.js';
import type { ScheduledPicture, ScheduledRequest } from '../step.js';
import type { HeldSegment } from './held.js';
import type { PageSource } from './page-source.js';
import { pressablePicture, pressableRun } from './pressable.js';
import { Progress } from './progress.js';
import { SequenceTable } from './table.js';

const SHAPE = { blockTokens: 16, pagesPerBlock: 8 };
const form = { codec: 'capsule', profileId: 'p' };

function tableOf(...segments: readonly HeldSegment[]): SequenceTable {
  const table = new SequenceTable(SHAPE);
  for (const segment of segments) table.push(segment);
  return table;
}

const raw = (start: number, tokens: number, shown?: number): HeldSegment => ({
  ...{ kind: 'raw', start, picture: shown, tokens, cached: 0 },
  blocks: Array.from({ length: Math.ceil(tokens / 16) }, (_, at) => start + at),
});

describe('the picture that becomes smaller under pressure', () => {
  const progressOf = (pictures: readonly ScheduledPicture[]) =>
    new Progress({ id: 'a', promptTokens: 100, pictures }, SHAPE);
  /** Becomes so many pages beside one raw row. */
  const pressed = (offset: number, pages: number, stored?: number): ScheduledPicture => ({
    ...picture(offset, 40, 0, stored),
    underPressure: { stored: { format: 1, pages }, restRows: [0], form },
  });

  it('is the first that may, whatever text is before it', () => {
    const progress = progressOf([picture(40, 10, 0, undefined), pressed(50, 3)]);
    const table = tableOf(raw(0, 40), raw(40, 10, 0), raw(50, 40, 1));
    expect(pressablePicture(progress, table)).toMatchObject({
      at: 2,
      picture: 1,
      pressure: { restRows: [0] },
    });
  });

  // its rows are three blocks, of 24 pages, and the raw row beside what it becomes is one of them
  it.each([
    ['takes fewer pages so', pressed(0, 15), raw(0, 40, 0), true],
    ['takes as many pages so', pressed(0, 16), raw(0, 40, 0), false],
    ['is not wholly computed', pressed(0, 3), raw(0, 30, 0), false],
    ['waits for the form that it was admitted with', pressed(0, 3, 20), raw(0, 40, 0), false],
    [
      'is stored as rows',
      pressed(0, 3, 20),
      {
        kind: 'stored',
        start: 0,
        picture: 0,
        tokens: 40,
        format: 0,
        pages: Array<number>(20).fill(0),
      } as const,
      true,
    ],
  ])('is one that %s: %#', (_, shown, held, may) => {
    expect(pressablePicture(progressOf([shown]), tableOf(held)) !== undefined).toBe(may);
  });
});

describe('the run of text that is stored under pressure', () => {
  const textOf = (pages: number) => ({ stored: { format: 1, pages }, tokens: 32, form });
  const found = (
    segments: readonly HeldSegment[],
    { shared = [], ...request }: Partial<ScheduledRequest> & { shared?: readonly number[] },
  ) => {
    const progress = new Progress({ id: 'a', promptTokens: 100, pictures: [], ...request }, SHAPE);
    const source = { ownedAlone: (run: number) => !shared.includes(run / 8) } as unknown as PageSource;
    return pressableRun(progress, tableOf(...segments), source);
  };
  const textUnderPressure = textOf(9);

  it('is the first whole one of its own', () => {
    const run = { kind: 'stored', start: 0, picture: undefined, tokens: 32, format: 1, pages: [1] } as const;
    const segments = [run, raw(32, 32, 0), raw(64, 31), raw(100, 80)];
    expect(found(segments, { textUnderPressure })).toEqual({ at: 3, offset: 0 });
    // one of a run's two blocks is shared: eight pages for nine are no gain
    expect(found(segments, { textUnderPressure, shared: [101] })).toEqual({ at: 3, offset: 32 });
    expect(found(segments, { textUnderPressure, shared: [100, 103] })).toBeUndefined();
    expect(found([raw(7, 32)], { textUnderPressure })).toEqual({ at: 0, offset: 0 });
    expect(found([raw(7, 80)], { textUnderPressure, shared: [9, 11] })).toEqual({ at: 0, offset: 0 });
  });

  it('gives pages back', () => {
    expect(found([raw(0, 32)], { textUnderPressure: textOf(15) })).toBeDefined();
    expect(found([raw(0, 32)], { textUnderPressure: textOf(16) })).toBeUndefined();
  });

  it('is none where text stays raw, or is stored from its beginning', () => {
    expect(found([raw(0, 32)], {})).toBeUndefined();
    expect(found([raw(0, 32)], { text: textOf(9), textUnderPressure })).toBeUndefined();
  });
});
