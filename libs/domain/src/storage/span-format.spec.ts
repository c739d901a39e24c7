import { describe, expect, it } from 'vitest';

import { chooseFormat, formOf, smallerCapsule, spanFormat, type StorageFormat } from './span-format.js';

function format(changed: Partial<StorageFormat> & Pick<StorageFormat, 'codec'>): StorageFormat {
  return {
    profileId: '',
    tokens: 0,
    markerRows: [],
    pages: 0,
    bytesPerToken: 0,
    headerBytes: 64,
    ...changed,
  };
}

const INFO = {
  pageBytes: 1000,
  blockTokens: 16,
  pagesPerBlock: 8,
  formats: [
    format({ codec: 'q8', bytesPerToken: 100 }),
    format({ codec: 'q4', bytesPerToken: 50 }),
    format({ codec: 'capsule', tokens: 8, pages: 1 }),
    format({ codec: 'capsule-mixed', tokens: 10, markerRows: Int32Array.of(0, 9), pages: 2 }),
    format({ codec: 'capsule', tokens: 8, pages: 3 }),
  ],
};
const SPAN = { length: 10, markerRows: [0, 9] };

describe('chooseFormat', () => {
  it('takes the last format of the codec, markers raw where it does not cover them', () => {
    expect(chooseFormat(INFO, 'capsule', SPAN)).toEqual({ format: 4, pages: 3, restRows: [0, 9] });
  });

  it('leaves no row raw where the markers are covered', () => {
    expect(chooseFormat(INFO, 'capsule-mixed', SPAN)).toEqual({ format: 3, pages: 2, restRows: [] });
  });

  it('covers any span with rows of few bits, and counts the header', () => {
    expect(chooseFormat(INFO, 'q8', SPAN)).toEqual({ format: 0, pages: 2, restRows: [] });
    expect(chooseFormat(INFO, 'q4', { length: 18, markerRows: [] })).toEqual({
      format: 1,
      pages: 1,
      restRows: [],
    });
    expect(chooseFormat(INFO, 'q4', { length: 19, markerRows: [] })?.pages).toBe(2);
  });

  it.each([
    ['another number of visual tokens', 'capsule', { length: 11, markerRows: [0, 9] }],
    ['markers elsewhere', 'capsule-mixed', { length: 10, markerRows: [0, 8] }],
    ['fewer markers', 'capsule-mixed', { length: 10, markerRows: [0] }],
    ['a codec without a profile', 'capsule-q8', SPAN],
    ['raw', 'raw', SPAN],
  ] as const)('leaves a span raw for %s', (_, codec, span) => {
    expect(chooseFormat(INFO, codec, span)).toBeUndefined();
  });
});

describe('spanFormat', () => {
  it('is the format of that number, where the span fits it', () => {
    expect(spanFormat(INFO, 2, SPAN)).toEqual({ format: 2, pages: 1, restRows: [0, 9] });
    expect(spanFormat(INFO, 2, { length: 12, markerRows: [0, 9] })).toBeUndefined();
    expect(spanFormat(INFO, 5, SPAN)).toBeUndefined();
  });
});

describe('smallerCapsule', () => {
  const smaller = (span: typeof SPAN, codec: string) =>
    smallerCapsule(INFO, span, chooseFormat(INFO, codec, span))?.format;

  it('is the fitted format with the fewest pages, blocks of the rows beside it included', () => {
    expect(smaller(SPAN, 'raw')).toBe(3);
    expect(smaller({ length: 10, markerRows: [0, 8] }, 'raw')).toBe(4);
  });

  it('counts whole blocks of rows that stay raw, however few they are', () => {
    const formats = [
      format({ codec: 'capsule', tokens: 8, pages: 1 }),
      format({ codec: 'capsule-mixed', tokens: 10, markerRows: [0, 9], pages: 8 }),
    ];
    expect(smallerCapsule({ ...INFO, formats }, SPAN, undefined)?.format).toBe(1);
  });

  it('is the first in the list of those with equally many pages', () => {
    const capsule = (codec: string) => format({ codec, tokens: 10, markerRows: [0, 9], pages: 2 });
    const formats = [capsule('a'), capsule('b'), capsule('a')];
    expect(smallerCapsule({ ...INFO, formats }, SPAN, undefined)?.format).toBe(1);
  });

  it('leaves rows alone that take as many pages', () => {
    const formats = [format({ codec: 'q8', bytesPerToken: 100 }), ...INFO.formats.slice(3, 4)];
    expect(
      smallerCapsule({ ...INFO, formats }, SPAN, chooseFormat({ ...INFO, formats }, 'q8', SPAN)),
    ).toBeUndefined();
  });

  it('is none where the span is fitted already, or where none takes fewer pages', () => {
    expect(smaller(SPAN, 'capsule')).toBeUndefined();
    expect(smaller({ length: 11, markerRows: [0, 9] }, 'raw')).toBeUndefined();
    // rows of 4 bits take one page, the capsule of two pages is none
    expect(smaller(SPAN, 'q4')).toBeUndefined();
  });

  it('replaces rows that take more pages', () => {
    const wide = {
      ...INFO,
      formats: [format({ codec: 'q8', bytesPerToken: 1000 }), ...INFO.formats.slice(3)],
    };
    expect(smallerCapsule(wide, SPAN, chooseFormat(wide, 'q8', SPAN))?.format).toBe(1);
  });
});

describe('formOf', () => {
  it('names codec and profile, raw without either', () => {
    const formats = [format({ codec: 'capsule', profileId: 'p' })];
    expect(formOf({ formats }, { format: 0, pages: 1, restRows: [] })).toEqual({
      codec: 'capsule',
      profileId: 'p',
    });
    expect(formOf({ formats }, undefined)).toEqual({ codec: 'raw', profileId: '' });
  });
});
