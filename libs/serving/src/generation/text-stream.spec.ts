import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { type Detokenizer, type StreamedText, TextStream } from './text-stream.js';

const SPECIAL = 256;

/** A token a byte, and one special token; what a model's detokenizer does, with the smallest vocabulary. */
function byteDetokenizer(): Detokenizer {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let open = 0;
  return {
    get pending() {
      return open > 0;
    },
    bytesOf: (token) => (token === SPECIAL ? undefined : Uint8Array.of(token)),
    spell: (token) => `<${token}>`,
    push: (token) => {
      if (token === SPECIAL) return '';
      if (token >= 0xc0) open = token >= 0xf0 ? 3 : token >= 0xe0 ? 2 : 1;
      else open = token >= 0x80 ? Math.max(0, open - 1) : 0;
      return decoder.decode(Uint8Array.of(token), { stream: true });
    },
    flush: () => decoder.decode(),
  };
}

const scores = { logprob: -1, top: [{ tokenId: 65, logprob: -0.5 }] };

/** Tokens that stand for whole words, as most of a model's do. */
function wordDetokenizer(words: readonly string[]): Detokenizer {
  const wordOf = (token: number): string => words[token] ?? '';
  return {
    ...{ pending: false, push: wordOf, spell: wordOf, flush: () => '' },
    bytesOf: (token) => Buffer.from(wordOf(token)),
  };
}

interface Run {
  readonly pieces: readonly StreamedText[];
  readonly text: string;
  /** Texts of the scored tokens, joined. */
  readonly tokenText: string;
  readonly tokenBytes: Buffer;
}

function run(tokens: readonly number[], stops: readonly string[], scored: boolean, minTokens = 0): Run {
  const stream = new TextStream(byteDetokenizer(), stops, minTokens);
  const pieces: StreamedText[] = [];
  for (const tokenId of tokens) {
    pieces.push(stream.push(scored ? { tokenId, scores } : { tokenId }));
    if (pieces.at(-1)?.stopped) break;
  }
  if (!pieces.at(-1)?.stopped) pieces.push(stream.end());
  const told = pieces.flatMap(({ logprobs }) => logprobs).filter(({ bytes }) => bytes !== undefined);
  return {
    pieces,
    text: pieces.map(({ text }) => text).join(''),
    tokenText: told.map(({ text }) => text).join(''),
    tokenBytes: Buffer.concat(told.flatMap(({ bytes }) => bytes ?? [])),
  };
}

const bytes = (text: string): number[] => [...Buffer.from(text)];

describe('TextStream', () => {
  it('keeps the tokens of one character together and with its text', () => {
    const { pieces } = run(bytes('aé😀b'), [], true);
    const told = pieces.map(({ text, logprobs }) => [text, logprobs.map((token) => token.text)]);
    expect(told).toEqual([
      ['a', ['a']],
      ['', []],
      ['é', ['', 'é']],
      ['', []],
      ['', []],
      ['', []],
      ['😀', ['', '', '', '😀']],
      ['b', ['b']],
      ['', []],
    ]);
    expect(pieces[0]?.logprobs[0]).toEqual({
      ...{ tokenId: 97, text: 'a', bytes: Buffer.from('a'), logprob: -1 },
      top: [{ tokenId: 65, text: '<65>', bytes: Buffer.from('A'), logprob: -0.5 }],
    });
  });

  it('holds tokens back with their text while a stop string may follow, and tells of none that it cuts', () => {
    const { pieces, text, tokenText } = run(bytes('ab ENx ENDING'), ['END'], true);
    expect(pieces.map((piece) => piece.logprobs.length)).toEqual([1, 1, 1, 0, 0, 3, 1, 0, 0, 0]);
    expect([text, tokenText]).toEqual(['ab ENx ', 'ab ENx ']);
    expect(pieces.at(-1)?.stopped).toBe(true);
  });

  it('cuts the token in which a stop string begins, its bytes as its text', () => {
    const stream = new TextStream(wordDetokenizer(['say ', 'Zoë. EN', 'D of it']), ['. END']);
    const pieces = [0, 1, 2].map((tokenId) => stream.push({ tokenId, scores }));
    const told = pieces.map(({ text, logprobs }) => [
      text,
      logprobs.map((token) => [token.text, token.bytes]),
    ]);
    expect(told).toEqual([
      ['say ', [['say ', Buffer.from('say ')]]],
      ['', []],
      ['Zoë', [['Zoë', Buffer.from('Zoë')]]],
    ]);
    expect(pieces.map(({ stopped }) => stopped)).toEqual([false, false, true]);
  });

  it('cuts tokens that share characters each at its own byte, and tells of none behind the cut', () => {
    const [e1, e2, x, y] = [...Buffer.from('éxy')] as [number, number, number, number];
    // a character ends in the token in which the next one begins; a special token stands between
    const tokens = [[y, e1], undefined, [e2, x, e1], [e2, y]];
    const decoder = new TextDecoder();
    const bytesOf = (token: number) => tokens[token] && Uint8Array.from(tokens[token]);
    const detokenizer: Detokenizer = {
      ...{ bytesOf, pending: true, spell: String, flush: () => '' },
      push: (token) => decoder.decode(bytesOf(token), { stream: true }),
    };
    const stream = new TextStream(detokenizer, ['xéy']);
    const pieces = tokens.map((_, tokenId) => stream.push({ tokenId, scores }));
    expect(pieces.slice(0, -1).map(({ logprobs }) => logprobs)).toEqual([[], [], []]);
    const { text, logprobs, stopped } = pieces.at(-1) ?? {};
    expect([text, stopped]).toEqual(['yé', true]);
    expect(logprobs?.map((token) => [token.text, token.bytes])).toEqual([
      ['y', Buffer.from([y, e1])],
      ['', undefined],
      ['é', Buffer.from([e2])],
    ]);
  });

  it('tells of no token of which the stop string leaves nothing', () => {
    const stream = new TextStream(wordDetokenizer(['a', 'b', 'cEND']), ['bcEND']);
    const pieces = [0, 1, 2].map((tokenId) => stream.push({ tokenId, scores }));
    expect(pieces.map(({ text, logprobs }) => [text, logprobs.length])).toEqual([
      ['a', 1],
      ['', 0],
      ['', 0],
    ]);
  });

  it('tells the same whole text of words as of its characters, cut at whatever stop string', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'é'), minLength: 1, maxLength: 4 });
    const words = fc.array(word, { minLength: 1, maxLength: 12, size: 'max' });
    fc.assert(
      fc.property(words, fc.array(word, { maxLength: 2 }), (list, stops) => {
        const stream = new TextStream(wordDetokenizer(list), stops);
        const pieces: StreamedText[] = [];
        for (const tokenId of list.keys()) {
          pieces.push(stream.push({ tokenId, scores }));
          if (pieces.at(-1)?.stopped) break;
        }
        if (!pieces.at(-1)?.stopped) pieces.push(stream.end());
        expect(pieces.map(({ text }) => text).join('')).toBe(run(bytes(list.join('')), stops, false).text);
        for (const { text, logprobs } of pieces) {
          expect(logprobs.map((token) => token.text).join('')).toBe(text);
          expect(Buffer.concat(logprobs.flatMap((token) => token.bytes ?? [])).toString()).toBe(text);
          expect(logprobs.filter((token) => token.text === '')).toEqual([]);
        }
      }),
      { seed: 11, numRuns: 300 },
    );
  });

  it('gives the mark of a cut character to the token that began it', () => {
    const cut = run(bytes('a😀').slice(0, 3), [], true);
    expect([cut.text, cut.tokenText]).toEqual(['a\uFFFD', 'a\uFFFD']);
    expect([...cut.tokenBytes]).toEqual(bytes('a😀').slice(0, 3));
  });

  it('tells a special token apart, which has no text', () => {
    const { pieces, text } = run([...bytes('a'), SPECIAL, ...bytes('b')], [], true);
    expect(text).toBe('ab');
    expect(pieces[1]?.logprobs).toMatchObject([{ tokenId: SPECIAL, text: '', bytes: undefined }]);
  });

  it('looks for no stop string before the least number of tokens', () => {
    expect(run(bytes('xx and xx'), ['xx'], false, 3).text).toBe('xx and ');
    expect(run(bytes('xx and xx'), ['xx'], false).text).toBe('');
  });

  it('tells the same text with and without scores, and tokens that join to it', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', 'é', '😀', '日'), { maxLength: 12 });
    const stop = fc
      .array(fc.constantFrom('a', 'b', 'é', '😀'), { minLength: 1, maxLength: 3 })
      .map((parts) => parts.join(''));
    const special = fc.array(fc.nat(40), { maxLength: 3 });
    fc.assert(
      fc.property(
        letters,
        fc.array(stop, { maxLength: 3 }),
        special,
        fc.nat(3),
        (parts, stops, at, short) => {
          const tokens = bytes(parts.join(''));
          tokens.splice(tokens.length - short, short);
          for (const place of at) tokens.splice(place, 0, SPECIAL);
          const plain = run(tokens, stops, false);
          const scored = run(tokens, stops, true);
          expect(scored.text).toBe(plain.text);
          expect(scored.tokenText).toBe(plain.text);
          expect(scored.pieces.length).toBe(plain.pieces.length);
          const told = scored.tokenBytes.toString();
          if (!plain.text.includes('\uFFFD')) expect(told).toBe(plain.text);
          // never ahead of the text, never behind what may be told
          for (const [index, piece] of scored.pieces.entries()) {
            const joined = piece.logprobs.map(({ text }) => text).join('');
            expect([index, joined]).toEqual([index, piece.text]);
          }
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });
});
