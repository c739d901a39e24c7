import { describe, expect, it } from 'vitest';
import { wordDiff } from './word-diff.js';

const marked = (pieces: readonly { text: string; isOther: boolean }[]) =>
  pieces.map(({ text, isOther }) => (isOther ? `[${text.trim()}]` : text.trim())).join(' ');

describe('two answers', () => {
  it.each([
    ['', '', '', ''],
    ['a bird', 'a bird', 'a bird', 'a bird'],
    ['a red bird', 'a blue bird', 'a [red] bird', 'a [blue] bird'],
    ['a bird', 'a bird sings', 'a bird', 'a bird [sings]'],
    ['one two', 'three', '[one two]', '[three]'],
    ['', 'new', '', '[new]'],
  ])('%j and %j have their differing words marked', (left, right, markedLeft, markedRight) => {
    expect(wordDiff(left, right).map(marked)).toEqual([markedLeft, markedRight]);
  });

  it('are whole in their pieces, blanks included', () => {
    const text = '  a  red\n bird ';
    const [pieces] = wordDiff(text, 'a bird');
    expect(pieces.map(({ text: each }) => each).join('')).toBe(text);
  });

  it('that are very long are compared in part', () => {
    const long = 'word '.repeat(3_000);
    const [, pieces] = wordDiff('word', long);
    expect(pieces.map(({ text }) => text).join('')).toBe(long);
  });
});
