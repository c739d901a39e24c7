import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { TokenizerFile } from '../folder/tokenizer-files.js';
import { IncrementalDetokenizer } from './incremental-detokenizer.js';
import { TextTokenizer } from './text-tokenizer.js';
import { TokenBytes } from './token-bytes.js';

const TOKENIZER = new URL('../../../../deploy/models/emoji-vlm/tokenizer.json', import.meta.url);
const END = 2;

let tokenBytes: TokenBytes;
let tokenizer: TextTokenizer;
/** Token of one byte, by byte. */
let byteTokens: Map<number, number>;

beforeAll(async () => {
  const file = TokenizerFile.parse(JSON.parse(await readFile(TOKENIZER, 'utf8')));
  tokenBytes = new TokenBytes(file);
  tokenizer = new TextTokenizer(file);
  const ids = Object.values(file.model.vocab).filter((id) => tokenBytes.of(id).length === 1);
  byteTokens = new Map(ids.map((id) => [tokenBytes.of(id)[0] ?? -1, id]));
});

function deltas(ids: readonly number[]): { pushed: string[]; rest: string } {
  const text = new IncrementalDetokenizer(tokenBytes);
  return { pushed: ids.map((id) => text.push(id)), rest: text.flush() };
}

const bytewise = (text: string) => [...Buffer.from(text)].map((byte) => byteTokens.get(byte) ?? -1);

const words = fc.array(
  fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('🚀', '日本語', '🇩🇪🇯🇵', '👩‍👩‍👧‍👦', 'e\u0301', '\ufeff', '\u0000', 'ß', '👍🏽', ' ', '\r\n'),
  ),
  { maxLength: 10 },
);

describe('text, token by token', () => {
  it('knows a token for each byte', () => expect(byteTokens.size).toBe(256));

  it('joins to the whole text, whatever the tokens', () => {
    fc.assert(
      fc.property(words, fc.boolean(), (parts, byBytes) => {
        const text = parts.join('');
        const { pushed, rest } = deltas(byBytes ? bytewise(text) : tokenizer.encode(text));
        expect(pushed.join('')).toBe(text);
        expect(rest).toBe('');
        for (const delta of pushed) expect(delta.isWellFormed()).toBe(true);
        if (!text.includes('\ufffd')) expect(pushed.join('')).not.toContain('\ufffd');
      }),
      { numRuns: 500, seed: 21 },
    );
  });

  it.each(['🚀', '日', '👩‍👩‍👧‍👦', '🇩🇪'])('shows nothing of %s before its bytes are there', (character) => {
    const [first] = character;
    const ids = bytewise(first ?? '');
    const { pushed } = deltas(ids);
    expect(pushed).toEqual([...ids.slice(1).map(() => ''), first]);
  });

  it('marks a cut tail once, at the end only', () => {
    const { pushed, rest } = deltas(bytewise('ok 🚀').slice(0, -1));
    expect(pushed.join('')).toBe('ok ');
    expect(rest).toBe('\ufffd');
  });

  it('joins true bytes to the text even where a token ends inside a character', () => {
    const ids = bytewise('日本 🚀');
    expect(Buffer.concat(ids.map((id) => tokenBytes.of(id))).toString()).toBe('日本 🚀');
  });

  it('skips special tokens, also inside a character, and ids beyond the vocabulary', () => {
    const ids = bytewise('日');
    const { pushed, rest } = deltas([1, ids[0] ?? 0, END, ids[1] ?? 0, 1087, ids[2] ?? 0, END]);
    expect(pushed.join('') + rest).toBe('日');
  });
});
