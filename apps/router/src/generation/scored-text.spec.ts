import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Detokenizer, TextStream } from '@kvcapsule/serving';
import { type ScoredPiece, ScoredText } from './scored-text.js';

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
  readonly pieces: readonly ScoredPiece[];
  readonly text: string;
  /** Texts of the scored tokens, joined. */
  readonly tokenText: string;
  readonly tokenBytes: Buffer;
  /** What a worker says without scores. */
  readonly plainText: string;
}

/** What becomes of what a worker says, token by token and at the end. */
function tell(detokenizer: Detokenizer, tokens: Iterable<number>, stops: readonly string[]): Run {
  const stream = new TextStream(detokenizer, stops);
  const scored = new ScoredText();
  const pieces: ScoredPiece[] = [];
  let plainText = '';
  let stopped = false;
  for (const tokenId of tokens) {
    const said = stream.push({ tokenId, scores });
    plainText += said.text;
    pieces.push(scored.push(said.text, said.logprobs));
    stopped = said.stopped;
    if (stopped) break;
  }
  const last = stopped ? '' : stream.end().text;
  plainText += last;
  pieces.push(scored.end(last));
  const told = pieces.flatMap(({ logprobs }) => logprobs).filter(({ bytes }) => bytes !== undefined);
  return {
    ...{ pieces, plainText },
    text: pieces.map(({ text }) => text).join(''),
    tokenText: told.map(({ text }) => text).join(''),
    tokenBytes: Buffer.concat(told.flatMap(({ bytes }) => bytes ?? [])),
  };
}

const run = (tokens: readonly number[], stops: readonly string[]): Run =>
  tell(byteDetokenizer(), tokens, stops);

/** Texts and tokens of the pieces in which anything left. */
const leaving = ({ pieces }: Run): unknown[] =>
  pieces
    .filter(({ text, logprobs }) => text !== '' || logprobs.length > 0)
    .map(({ text, logprobs }) => [text, logprobs.map((token) => [token.text, token.bytes])]);

const bytes = (text: string): number[] => [...Buffer.from(text)];

describe('ScoredText', () => {
  it('keeps the tokens of one character together and with its text', () => {
    const { pieces } = run(bytes('aé😀b'), []);
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
  });

  it('holds tokens back with their text while a stop string may follow, and tells of none that it cuts', () => {
    const { pieces, text, tokenText } = run(bytes('ab ENx ENDING'), ['END']);
    expect(pieces.map(({ logprobs }) => logprobs.length)).toEqual([1, 1, 1, 0, 0, 3, 1, 0, 0, 0, 0]);
    expect([text, tokenText]).toEqual(['ab ENx ', 'ab ENx ']);
  });

  it('cuts the token in which a stop string begins, its bytes as its text', () => {
    expect(leaving(tell(wordDetokenizer(['say ', 'Zoë. EN', 'D of it']), [0, 1, 2], ['. END']))).toEqual([
      ['say ', [['say ', Buffer.from('say ')]]],
      ['Zoë', [['Zoë', Buffer.from('Zoë')]]],
    ]);
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
    expect(leaving(tell(detokenizer, tokens.keys(), ['xéy']))).toEqual([
      [
        'yé',
        [
          ['y', Buffer.from([y, e1])],
          ['', undefined],
          ['é', Buffer.from([e2])],
        ],
      ],
    ]);
  });

  it('tells of no token of which the stop string leaves nothing', () => {
    const { pieces } = tell(wordDetokenizer(['a', 'b', 'cEND']), [0, 1, 2], ['bcEND']);
    expect(pieces.map(({ text, logprobs }) => [text, logprobs.length])).toEqual([
      ['a', 1],
      ...[1, 2, 3].map(() => ['', 0]),
    ]);
  });

  it('tells the same whole text of words as of its characters, cut at whatever stop string', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'é'), minLength: 1, maxLength: 4 });
    const words = fc.array(word, { minLength: 1, maxLength: 12, size: 'max' });
    fc.assert(
      fc.property(words, fc.array(word, { maxLength: 2 }), (list, stops) => {
        const { pieces, text, plainText } = tell(wordDetokenizer(list), list.keys(), stops);
        expect([text, text]).toEqual([plainText, run(bytes(list.join('')), stops).text]);
        for (const piece of pieces) {
          expect(piece.logprobs.map((token) => token.text).join('')).toBe(piece.text);
          const told = Buffer.concat(piece.logprobs.flatMap((token) => token.bytes ?? []));
          expect(told.toString()).toBe(piece.text);
          expect(piece.logprobs.filter((token) => token.text === '')).toEqual([]);
        }
      }),
      { seed: 11, numRuns: 300 },
    );
  });

  it('gives the mark of a cut character to the token that began it', () => {
    const cut = run(bytes('a😀').slice(0, 3), []);
    expect([cut.text, cut.tokenText]).toEqual(['a\uFFFD', 'a\uFFFD']);
    expect([...cut.tokenBytes]).toEqual(bytes('a😀').slice(0, 3));
  });

  it('tells of a special token, which has no text', () => {
    const { pieces, text } = run([...bytes('a'), SPECIAL, ...bytes('b')], []);
    expect(text).toBe('ab');
    expect(pieces[1]?.logprobs).toMatchObject([{ tokenId: SPECIAL, text: '', bytes: undefined }]);
  });

  it('tells the text that the worker says, and tokens that join to it', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', 'é', '😀', '日'), { maxLength: 12 });
    const stop = fc
      .array(fc.constantFrom('a', 'b', 'é', '😀', '\uFFFD'), { minLength: 1, maxLength: 3 })
      .map((parts) => parts.join(''));
    const special = fc.array(fc.nat(40), { maxLength: 3 });
    fc.assert(
      fc.property(
        ...([letters, fc.array(stop, { maxLength: 3 }), special, fc.nat(3)] as const),
        (parts, stops, at, short) => {
          const tokens = bytes(parts.join(''));
          tokens.splice(tokens.length - short, short);
          for (const place of at) tokens.splice(place, 0, SPECIAL);
          const { pieces, text, plainText, tokenText, tokenBytes } = run(tokens, stops);
          expect([text, tokenText]).toEqual([plainText, plainText]);
          if (!text.includes('\uFFFD')) expect(tokenBytes.toString()).toBe(text);
          // never ahead of the text, never behind what may be told
          for (const [index, piece] of pieces.entries()) {
            const joined = piece.logprobs.map((token) => token.text).join('');
            expect([index, joined]).toEqual([index, piece.text]);
          }
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });
});
