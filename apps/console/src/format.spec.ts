import { describe, expect, it } from 'vitest';
import { bytes, percent, plural, rate, seconds, times } from './format.js';

describe('what people read', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '0.98 KiB'],
    [1_024, '1.00 KiB'],
    [150 * 1_024, '150 KiB'],
    [1.5 * 1_024 ** 3, '1.50 GiB'],
    [1_023.9 * 1_024, '1.00 MiB'],
    [-5, '0 B'],
  ])('%d bytes are %s', (count, text) => {
    expect(bytes(count)).toBe(text);
  });

  it.each([
    [null, '–'],
    [NaN, '–'],
    [0, '0 s'],
    [0.0042, '4.2 ms'],
    [0.84, '840 ms'],
    [0.9997, '1.0 s'],
    [12.44, '12.4 s'],
    [200, '3 min 20 s'],
    [3_720, '1 h 2 min'],
  ])('%s seconds are %s', (value, text) => {
    expect(seconds(value)).toBe(text);
  });

  it('are rates, ratios and counts', () => {
    expect([rate(0), rate(9.96), rate(99.5), rate(12_345)]).toEqual(['0', '10.0', '99.5', '12,345']);
    expect([times(48, 10), times(0, 10), times(9, 0)]).toEqual(['4.8×', '–', '–']);
    expect([percent(1, 8), percent(0, 0)]).toEqual(['13 %', '–']);
    expect([plural(1, 'worker'), plural(0, 'worker')]).toEqual(['1 worker', '0 workers']);
  });
});
