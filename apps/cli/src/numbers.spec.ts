import { describe, expect, it } from 'vitest';
import { numberArgument, numberOf, wholeArgument, wholeOf } from './numbers.js';

describe('a number of the command line', () => {
  it.each([
    ['1', 1],
    ['0.5', 0.5],
    ['1e3', 1_000],
    ['2E+1', 20],
    ['5e-1', 0.5],
  ])('%s is one', (text, value) => {
    expect(numberOf('--rate', text, 0.1, 1e6)).toBe(value);
    expect(numberArgument(0.1, 1e6)(text)).toBe(value);
  });

  it.each(['', ' ', '0', '-1', '+1', 'NaN', 'Infinity', '0x10', '1,5', '1_000', '1e9', '1e-400', '1 ', '.5'])(
    '"%s" is none, and the flag is named',
    (text) => {
      expect(() => numberOf('--rate', text, 0.1, 1e6)).toThrow('--rate: ');
      expect(() => numberOf('--rate', text, 0.1, 1e6)).toThrow('is not a number from 0.1 to 1000000');
      expect(() => numberArgument(0.1, 1e6)(text)).toThrow('a number from 0.1 to 1000000');
    },
  );

  it('is whole where it has to be', () => {
    expect(wholeOf('--turns', '3', 1, 9)).toBe(3);
    expect(wholeOf('--turns', '0.5e1', 1, 9)).toBe(5);
    expect(() => wholeOf('--turns', '1.5', 1, 9)).toThrow('--turns: 1.5 is not a whole number from 1 to 9');
    expect(() => wholeArgument(1, 9)('1.5')).toThrow('a whole number');
  });

  it('may come from a variable that names a service of the cluster instead, which is told', () => {
    expect(() => numberArgument(1, 9)('tcp://10.0.0.1:8000')).toThrow(/service/i);
  });
});
