import { describe, expect, it } from 'vitest';

import { type Detokenizer, type TokenLogprob, TextStream } from './text-stream.js';

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

interface Run {
  readonly text: string;
  /** What each token brought, and the end last. */
  readonly pieces: readonly string[];
  readonly logprobs: readonly TokenLogprob[];
}

function run(tokens: readonly number[], stops: readonly string[], scored = false, minTokens = 0): Run {
  const stream = new TextStream(byteDetokenizer(), stops, minTokens);
  const pieces: string[] = [];
  const logprobs: TokenLogprob[] = [];
  let stopped = false;
  for (const tokenId of tokens) {
    const said = stream.push(scored ? { tokenId, scores } : { tokenId });
    pieces.push(said.text);
    logprobs.push(...said.logprobs);
    stopped = said.stopped;
    if (stopped) break;
  }
  if (!stopped) pieces.push(stream.end().text);
  return { text: pieces.join(''), pieces, logprobs };
}

const bytes = (text: string): number[] => [...Buffer.from(text)];

describe('TextStream', () => {
  it('tells whole characters, with the token that completes each', () => {
    expect(run(bytes('aé😀b'), []).pieces).toEqual(['a', '', 'é', '', '', '', '😀', 'b', '']);
  });

  it('holds text back while a stop string may follow', () => {
    const { pieces, text } = run(bytes('ab ENx ENDING'), ['END']);
    expect(pieces).toEqual(['a', 'b', ' ', '', '', 'ENx', ' ', '', '', '']);
    expect(text).toBe('ab ENx ');
  });

  it('tells a token’s scores as it comes, whatever becomes of its text', () => {
    const { logprobs } = run(bytes('aé END'), ['END'], true);
    expect(logprobs.map(({ text, insideCharacter }) => [text, insideCharacter])).toEqual([
      ['a', false],
      ['', true],
      ...['é', ' ', 'E', 'N', 'D'].map((text) => [text, false]),
    ]);
    expect(logprobs[0]).toEqual({
      ...{ tokenId: 97, text: 'a', bytes: Buffer.from('a'), logprob: -1, insideCharacter: false },
      top: [{ tokenId: 65, text: '<65>', bytes: Buffer.from('A'), logprob: -0.5 }],
    });
  });

  it('puts a mark for a cut character at the end', () => {
    expect(run(bytes('a😀').slice(0, 3), []).text).toBe('a\uFFFD');
  });

  it('tells a special token apart, which has no text', () => {
    const { text, logprobs } = run([...bytes('a'), SPECIAL, ...bytes('b')], [], true);
    expect(text).toBe('ab');
    expect(logprobs[1]).toMatchObject({ tokenId: SPECIAL, text: '', bytes: undefined });
  });

  it('looks for no stop string before the least number of tokens', () => {
    expect(run(bytes('xx and xx'), ['xx'], false, 3).text).toBe('xx and ');
    expect(run(bytes('xx and xx'), ['xx']).text).toBe('');
  });
});
