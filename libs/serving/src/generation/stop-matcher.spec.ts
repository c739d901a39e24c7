import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { StopMatcher } from './stop-matcher.js';

function run(
  stops: readonly string[],
  pieces: readonly string[],
): { sent: string; stopped: boolean; pieces: string[] } {
  const matcher = new StopMatcher(stops);
  const sent: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = matcher.push(piece);
    sent.push(text);
    if (stopped) return { sent: sent.join(''), stopped, pieces: sent };
  }
  sent.push(matcher.held);
  return { sent: sent.join(''), stopped: false, pieces: sent };
}

describe('StopMatcher', () => {
  it('sends no character of a stop string that spans three pieces', () => {
    expect(run(['END NOW'], ['a red E', 'ND', ' NO', 'W and more'])).toMatchObject({
      sent: 'a red ',
      stopped: true,
      pieces: ['a red ', '', '', ''],
    });
  });

  it('sends what was held back as soon as it cannot match', () => {
    expect(run(['<<end>>'], ['a <', '<en', 'x', ' <<', 'y']).pieces).toEqual([
      'a ',
      '',
      '<<enx',
      ' ',
      '<<y',
      '',
    ]);
  });

  it('lets the shorter of two stops win when one is the start of the other', () => {
    expect(run(['ab', 'abc'], ['xabcd'])).toMatchObject({ sent: 'x', stopped: true });
  });

  it.each([
    ['the longest that is complete at one character', ['b', 'ab'], 'xab', 'x'],
    ['the longest, in whatever order they are given', ['ab', 'b'], 'xab', 'x'],
    ['the one that is complete first, also within a longer one', ['b', 'abc'], 'xabcd', 'xa'],
    ['the one that is complete first, wherever it began', ['abc', 'b'], 'xabcd', 'xa'],
    ['none that is empty', ['', 'c'], 'xabcd', 'xab'],
  ])('stops at %s', (_, stops, text, sent) => {
    for (const pieces of [[text], [...text]])
      expect(run(stops, pieces)).toMatchObject({ sent, stopped: true });
  });

  it('stops in the first piece', () => {
    expect(run(['cat'], ['cat'])).toMatchObject({ sent: '', stopped: true });
  });

  it('sends text held at the end', () => {
    expect(run(['cat'], ['a ca'])).toMatchObject({ sent: 'a ca', stopped: false });
  });

  it('does not depend on how the text is cut, and leaks no stop string', () => {
    // two letters: stop strings overlap, contain each other and come up in the text
    const letters = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 30, size: 'max' });
    const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 6 }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(
        letters,
        stops,
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1 }),
        (text, list, sizes) => {
          const pieces: string[] = [];
          for (let at = 0, index = 0; at < text.length; index += 1) {
            const size = sizes[index % sizes.length] ?? 1;
            pieces.push(text.slice(at, at + size));
            at += size;
          }
          const whole = run(list, [text]);
          expect(run(list, pieces)).toMatchObject({ sent: whole.sent, stopped: whole.stopped });
          expect(run(list, [...text])).toMatchObject({ sent: whole.sent, stopped: whole.stopped });
          expect(whole.stopped).toBe(list.some((stop) => text.includes(stop)));
          expect(text.startsWith(whole.sent)).toBe(true);
          expect(list.some((stop) => whole.sent.includes(stop))).toBe(false);
        },
      ),
      { numRuns: 500, seed: 7 },
    );
  });
});
