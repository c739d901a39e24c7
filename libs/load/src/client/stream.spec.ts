import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Chunk, errorCode, readChunk } from './chunk.js';
import { EventLines } from './event-lines.js';

const read = (json: string, keepText = false): Chunk => {
  const bytes = Buffer.from(`before ${json} after "content":"x"`);
  return readChunk(bytes, 7, 7 + Buffer.byteLength(json), keepText);
};
const delta = (fields: object) => JSON.stringify({ choices: [{ index: 0, delta: fields }], usage: null });

describe('an event', () => {
  it.each([
    [delta({ content: 'a' }), 'text'],
    [delta({ content: '' }), 'other'],
    [delta({ role: 'assistant', content: null }), 'other'],
    [delta({ reasoning_content: 'hm' }), 'text'],
    [delta({ tool_calls: [{ index: 0 }] }), 'text'],
    ['{"choices": [{"delta": {"content": "spaced"}}]}', 'text'],
    ['{"choices":[]}', 'other'],
    ['[DONE]', 'done'],
    ['{"error":{"message":"secret","code":"overloaded"}}', 'error'],
    ['{"choices":', 'garbage'],
    ['[1]', 'garbage'],
    ['null', 'garbage'],
    ['', 'garbage'],
  ])('%s is %s', (json, kind) => {
    expect(read(json).kind).toBe(kind);
    expect(read(json, true).kind).toBe(kind);
  });

  it('tells the usage, also beside text', () => {
    const usage = { prompt_tokens: 5, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } };
    const counted = { promptTokens: 5, completionTokens: 2, cachedTokens: 4 };
    expect(read(JSON.stringify({ choices: [], usage }))).toEqual({ kind: 'other', usage: counted });
    const both = JSON.stringify({ choices: [{ delta: { content: 'a' } }], usage });
    expect(read(both)).toEqual({ kind: 'text', text: 'a', usage: counted });
    expect(read(JSON.stringify({ usage: { prompt_tokens: -1, completion_tokens: 0 } })).kind).toBe('garbage');
  });

  it('is told apart by its bytes as by its JSON, whatever the text is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (content) => {
        expect(read(delta({ content })).kind).toBe(read(delta({ content }), true).kind);
        expect(read(delta({ content })).kind).toBe(content === '' ? 'other' : 'text');
      }),
      { seed: 15, examples: [['"content":"x'], ['\\'], ['"usage":{'], ['[DONE]']] },
    );
  });

  it('names errors by their code and never by what they say', () => {
    expect(errorCode({ code: 'rate_limit', message: 'secret' })).toBe('rate_limit');
    expect(errorCode({ code: null, type: 'server_error' })).toBe('server_error');
    expect(errorCode({ code: 'a secret sentence' })).toBe('unknown');
    expect(errorCode('secret')).toBe('unknown');
  });
});

describe('lines of events', () => {
  it('are found however the body is cut', () => {
    const body = Buffer.from(
      ': comment\n\ndata: {"a":1}\r\n\r\nevent: x\ndata:two\n\ndata: é\n\ndata: [DONE]\n\n',
    );
    const expected = ['{"a":1}', 'two', 'é', '[DONE]'];
    fc.assert(
      fc.property(fc.array(fc.nat(body.length), { maxLength: 12 }), (cuts) => {
        const lines = new EventLines();
        const found: string[] = [];
        const places = [0, ...cuts.toSorted((a, b) => a - b), body.length];
        for (const [at, place] of places.entries())
          lines.push(body.subarray(places[at - 1] ?? 0, place), (bytes, start, end) => {
            found.push(bytes.toString('utf8', start, end));
          });
        expect(found).toEqual(expected);
      }),
      { seed: 15, numRuns: 300 },
    );
  });

  it('are bounded', () => {
    const lines = new EventLines();
    const part = Buffer.alloc(3 * 2 ** 20, 'x');
    const took = [part, part, part].map((chunk) => lines.push(chunk, () => undefined));
    expect(took).toEqual([true, true, false]);
  });
});
