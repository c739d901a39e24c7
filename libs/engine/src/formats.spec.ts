import { describe, expect, it } from 'vitest';
import { chooseFormat } from './formats.js';
import type { NativeFormatInfo } from './native.js';

function format(changed: Partial<NativeFormatInfo> & Pick<NativeFormatInfo, 'codec'>): NativeFormatInfo {
  const markerRows = new Int32Array();
  return {
    profileId: '',
    tokens: 0,
    markerRows,
    pages: 0,
    bytes: 0,
    bytesPerToken: 0,
    headerBytes: 64,
    profileFile: -1,
    macsShare: 1,
    ...changed,
  };
}

const INFO = {
  pageBytes: 1000,
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
