import { readFile } from 'node:fs/promises';
import * as library from '@huggingface/tokenizers';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { TokenizerFile } from '../folder/tokenizer-files.js';
import { TextTokenizer } from './text-tokenizer.js';
import type { TokenizersLibrary } from './tokenizers-library.js';
import { wordSteps } from './words.js';

const TOKENIZER = new URL('../../../../deploy/models/emoji-vlm/tokenizer.json', import.meta.url);
const { Tokenizer } = library as unknown as TokenizersLibrary;

let file: TokenizerFile;

beforeAll(async () => {
  file = TokenizerFile.parse(JSON.parse(await readFile(TOKENIZER, 'utf8')));
});

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
const digits = { type: 'Digits', individual_digits: true };
const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });

const CUTS: Readonly<Record<string, Partial<TokenizerFile>>> = {
  'its own': {},
  'bytes alone': { pre_tokenizer: byteLevel },
  'bytes without words': { pre_tokenizer: { ...byteLevel, use_regex: false } },
  'digits, then bytes': { pre_tokenizer: sequence(digits, byteLevel) },
  'punctuation, then bytes': {
    pre_tokenizer: sequence(
      { type: 'Punctuation', behavior: 'Isolated' },
      { ...byteLevel, use_regex: false },
    ),
  },
  'bytes after composing characters': { normalizer: { type: 'NFC' }, pre_tokenizer: byteLevel },
  'a space before the first word': { pre_tokenizer: { ...byteLevel, add_prefix_space: true } },
  'bytes that are cut again': { pre_tokenizer: sequence(byteLevel, digits) },
};

const pieces = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: 'grapheme', maxLength: 12 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
  {
    weight: 6,
    arbitrary: fc.constantFrom(
      ...[
        "'s",
        "I'll",
        ' the',
        'The',
        'the',
        '  ',
        '\n\n',
        '\t',
        '\u0085',
        '\ufeff',
        '\u00a0',
        ' a1',
        'a1',
        ' 12',
      ],
      ...[
        '...',
        ' !?',
        'e\u0301',
        '日本語',
        '🚀',
        '👩‍👩‍👧‍👦',
        '\ud800',
        '\udc00x',
        '<|end|>',
        '__proto__',
        'x'.repeat(40),
      ],
    ),
  },
);
const texts = fc.array(pieces, { maxLength: 24 }).map((all) => all.join(''));

describe.each(Object.entries(CUTS))('a tokenizer that cuts by %s', (_name, change) => {
  it('gives the ids of the library, for words that it has seen and for new ones', () => {
    const changed = { ...file, ...change };
    const tokenizer = new TextTokenizer(changed);
    const whole = new Tokenizer(tokenizer.file, {});
    fc.assert(
      fc.property(texts, (text) => {
        const { ids } = whole.encode(text, { add_special_tokens: false });
        expect(tokenizer.encode(text)).toEqual(ids);
        expect(tokenizer.encode(text)).toEqual(ids);
      }),
      { seed: 11, numRuns: 300 },
    );
  });
});

it('takes words one by one only where each is tokenised as it would be alone', () => {
  const isTakenApart = (change: Partial<TokenizerFile>) => wordSteps({ ...file, ...change }) !== undefined;
  expect(isTakenApart({})).toBe(true);
  expect(isTakenApart({ pre_tokenizer: null })).toBe(false);
  expect(isTakenApart({ pre_tokenizer: { ...byteLevel, add_prefix_space: true } })).toBe(false);
  expect(isTakenApart({ pre_tokenizer: sequence(byteLevel, digits) })).toBe(false);
  expect(isTakenApart({ model: { ...file.model, fuse_unk: true } })).toBe(false);
});

it('goes on when there are more words than it remembers', () => {
  const tokenizer = new TextTokenizer(file);
  const whole = new Tokenizer(tokenizer.file, {});
  const words = Array.from({ length: 25_000 }, (_, index) => ` w${(index * 7) % 24_001}`);
  const text = words.join('');
  expect(tokenizer.encode(text)).toEqual(whole.encode(text, { add_special_tokens: false }).ids);
});
