import { inflateSync } from 'node:zlib';
import { mixSeed, SeededRandom } from '@kvcapsule/testing/scenes';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  chatBody,
  drawLength,
  type GeneratedMix,
  GeneratedWorkload,
  ONE_EACH,
  parseLengths,
  parseMooncake,
  parseTraceCsv,
  Pictures,
  pictureUri,
  ShareGptWorkload,
  TraceWorkload,
  wordsFor,
  Zipf,
} from './index.js';

const fixed = (tokens: number) => ({ kind: 'fixed', tokens }) as const;
const MIX: GeneratedMix = {
  promptTokens: fixed(20),
  outputTokens: fixed(8),
  sharedPrefixTokens: 0,
  turns: 1,
};
const words = (text: string) => text.split(' ').length;

describe('lengths', () => {
  it('are read in all their forms', () => {
    expect(['7', '2-9', 'normal:20:5', 'lognormal:20:0.5'].map((text) => parseLengths('--x', text))).toEqual([
      fixed(7),
      { kind: 'uniform', least: 2, most: 9 },
      { kind: 'normal', mean: 20, deviation: 5 },
      { kind: 'lognormal', median: 20, sigma: 0.5 },
    ]);
  });

  it.each(['', '0', '-3', '9-2', 'normal:5', '1e9', '99999999', 'lognormal:5:9', '3.5'])(
    'are not %j',
    (text) => {
      expect(() => parseLengths('--x', text)).toThrow('--x');
    },
  );

  it('are whole numbers above nought, near their centre', () => {
    const random = new SeededRandom(4);
    for (const text of ['5', '1-9', 'normal:3:9', 'lognormal:5:2']) {
      const drawn = Array.from({ length: 500 }, () => drawLength(parseLengths('--x', text), random));
      expect(drawn.every((tokens) => Number.isInteger(tokens) && tokens >= 1)).toBe(true);
      expect(drawn.toSorted((a, b) => a - b)[250]).toBeGreaterThanOrEqual(3);
      expect(drawn.toSorted((a, b) => a - b)[250]).toBeLessThanOrEqual(7);
    }
  });
});

describe('a generated workload', () => {
  it('is the same for the same seed, and another for another', () => {
    const [one, same, other] = [1, 1, 2].map((seed) =>
      new GeneratedWorkload(seed, MIX, ONE_EACH).conversation(5),
    );
    expect(one).toEqual(same);
    expect(one).not.toEqual(other);
  });

  it('has no two prompts alike, but for what they are to share', () => {
    const workload = new GeneratedWorkload(1, { ...MIX, sharedPrefixTokens: 10, turns: 2 }, ONE_EACH);
    const turns = Array.from({ length: 200 }, (_, at) => workload.conversation(at).turns).flat();
    const texts = turns.map(({ text }) => text);
    expect(new Set(texts).size).toBe(texts.length);
    const begins = new Set(
      texts.filter((_, at) => at % 2 === 0).map((text) => text.split(' ').slice(0, 10).join(' ')),
    );
    expect(begins.size).toBe(1);
    expect(texts.map(words).slice(0, 2)).toEqual([30, 20]);
  });

  it('has as many words as the server’s tokens ask for', () => {
    expect(wordsFor(100, { tokensPerWord: 2, overhead: 20 })).toBe(40);
    expect(wordsFor(5, { tokensPerWord: 2, overhead: 20 })).toBe(1);
  });

  it('draws pictures by Zipf’s law, or each anew', () => {
    const pictures = { share: 0.5, perRequest: 2, width: 8, height: 8, distinct: 20, zipf: 1 };
    const drawn = (distinct: number) => {
      const workload = new GeneratedWorkload(3, { ...MIX, pictures: { ...pictures, distinct } }, ONE_EACH);
      return Array.from({ length: 2_000 }, (_, at) => workload.conversation(at).turns[0]?.pictures ?? []);
    };
    const some = drawn(20);
    expect(some.filter(({ length }) => length === 2).length / 2_000).toBeCloseTo(0.5, 1);
    const counts = Map.groupBy(some.flat(), (picture) => picture);
    const [first = [], second = []] = [counts.get(0), counts.get(1)];
    expect(first.length / second.length).toBeCloseTo(2, 0);
    expect(Math.max(...counts.keys())).toBe(19);
    const anew = drawn(0).flat();
    expect(new Set(anew).size).toBe(anew.length);
  });

  it('draws each place in range, the first most often', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }),
        fc.double({ min: 0, max: 3, noNaN: true }),
        (count, exponent) => {
          const zipf = new Zipf(count, exponent);
          const places = Array.from({ length: 200 }, (_, at) => zipf.draw(at / 200));
          expect(places.every((place, at) => place >= (places[at - 1] ?? 0) && place < count)).toBe(true);
          expect(zipf.draw(0)).toBe(0);
          expect(zipf.draw(1 - 2 ** -32)).toBe(count - 1);
        },
      ),
      { seed: 15 },
    );
  });
});

/** Colours of the pixels, line by line, of PNG's lines with the filters Sub (1) and Up (2). */
function unfiltered(lines: Buffer, width: number): number[][][] {
  const lineBytes = 1 + 3 * width;
  const bytes = Buffer.from(lines);
  for (let at = 0; at < bytes.length; at += 1) {
    const column = at % lineBytes;
    if (column === 0) continue;
    const filter = bytes[at - column] ?? 0;
    const base = filter === 2 ? bytes[at - lineBytes] : column > 3 ? bytes[at - 3] : 0;
    bytes[at] = (bytes[at] ?? 0) + (base ?? 0);
  }
  return Array.from({ length: lines.length / lineBytes }, (_, y) =>
    Array.from({ length: width }, (_, x) => [...bytes.subarray(y * lineBytes + 1 + 3 * x).subarray(0, 3)]),
  );
}

describe('a picture', () => {
  it('is a PNG of its size, the same each time', () => {
    const uri = pictureUri(1, 7, { width: 20, height: 12 });
    expect(uri).toBe(new Pictures(1, { width: 20, height: 12 }).uri(7));
    expect(uri).not.toBe(pictureUri(1, 8, { width: 20, height: 12 }));
    const png = Buffer.from(uri.slice('data:image/png;base64,'.length), 'base64');
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([20, 12]);
    const dataBytes = png.readUInt32BE(33);
    expect(png.toString('latin1', 37, 41)).toBe('IDAT');
    const colours = unfiltered(inflateSync(png.subarray(41, 41 + dataBytes)), 20);
    // squares of eight, each in the colour that the seed draws for it, cut off at the edges
    const random = new SeededRandom(mixSeed(1, 7));
    const squares = Array.from({ length: 2 }, () =>
      Array.from({ length: 3 }, () => Array.from({ length: 3 }, () => random.integer(0, 255))),
    );
    expect(colours).toEqual(
      Array.from({ length: 12 }, (_, y) =>
        Array.from({ length: 20 }, (_, x) => squares[Math.floor(y / 8)]?.[Math.floor(x / 8)]),
      ),
    );
  });
});

describe('traces', () => {
  it('of Mooncake are read, in the order of time', () => {
    const text = `{"timestamp": 3000, "input_length": 700, "output_length": 5, "hash_ids": [1, 2]}
{"timestamp": 1000, "input_length": 600, "output_length": 9, "hash_ids": [1, 3]}
`;
    const rows = parseMooncake('t', text);
    expect(rows.map(({ atMs, inputTokens }) => [atMs, inputTokens])).toEqual([
      [0, 600],
      [2_000, 700],
    ]);
    const workload = new TraceWorkload(1, rows, 2, ONE_EACH);
    expect(workload.arrivalsMs).toEqual([0, 1_000]);
    const [first, second] = [0, 1].map((at) => workload.conversation(at).turns[0]?.text.split(' ') ?? []);
    expect([first?.length, second?.length]).toEqual([600, 700]);
    expect(first?.slice(0, 512)).toEqual(second?.slice(0, 512));
    expect(first?.slice(512)).not.toEqual(second?.slice(512, 600));
  });

  it('of Azure are read, with their seven digits of a second', () => {
    const text = `TIMESTAMP,ContextTokens,GeneratedTokens\r
2023-11-16 18:15:46.6805900,374,44\r
2023-11-16 18:15:50.9951690,396,109\r
`;
    const rows = parseTraceCsv('t', text);
    expect(rows.map(({ atMs }) => Math.round(atMs))).toEqual([0, 4_315]);
    expect(rows[1]).toMatchObject({ inputTokens: 396, outputTokens: 109 });
  });

  it('may have other names, and seconds', () => {
    expect(parseTraceCsv('t', 'arrived_at,num_prefill_tokens,num_decode_tokens\n1.5,3,4\n2,5,6\n')).toEqual([
      { atMs: 0, inputTokens: 3, outputTokens: 4 },
      { atMs: 500, inputTokens: 5, outputTokens: 6 },
    ]);
  });

  it.each([
    ['', 'no requests', parseMooncake],
    ['{"timestamp": 1}', 'line 1', parseMooncake],
    ['secret', 'line 1: not JSON', parseMooncake],
    ['a,b,c\n1,2,3', 'no column', parseTraceCsv],
    ['timestamp,input_length,output_length\n1,0,3', 'line 2', parseTraceCsv],
    ['timestamp,input_length,output_length\nsoon,1,3', 'line 2', parseTraceCsv],
  ] as const)('are refused with what is wrong, not with what they hold: %j', (text, why, parse) => {
    expect(() => parse('trace', text)).toThrow(why);
    expect(() => parse('trace', text)).not.toThrow(/secret|soon/);
  });

  it('of ShareGPT keep what people wrote, and begin again at the end', () => {
    const file = JSON.stringify([
      { conversations: [{ from: 'gpt', value: 'x' }] },
      {
        conversations: [
          { from: 'human', value: 'one' },
          { from: 'gpt', value: 'x' },
          { from: 'human', value: 'two' },
        ],
      },
    ]);
    const workload = new ShareGptWorkload('t', file, 5, 9);
    expect(workload.distinct).toBeGreaterThan(0);
    expect(workload.conversation(workload.distinct).turns).toEqual(workload.conversation(0).turns);
    expect(workload.conversation(3).turns.map(({ text }) => text)).toEqual(['one', 'two']);
    expect(() => new ShareGptWorkload('t', '{}', 1, 1)).toThrow('not a list');
    expect(() => new ShareGptWorkload('t', '[]', 1, 1)).toThrow('no conversation');
  });
});

describe('the body of a request', () => {
  it('has pictures before the text, and the operator’s fields last', () => {
    const pictures = new Pictures(1, { width: 8, height: 8 });
    const turn = { text: 'hello', pictures: [1], outputTokens: 5 };
    const body = JSON.parse(
      chatBody(turn, [], pictures, { model: 'm', extra: { temperature: 0 } }),
    ) as object;
    expect(body).toMatchObject({
      ...{ model: 'm', max_tokens: 5, stream: true, stream_options: { include_usage: true }, temperature: 0 },
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image_url', image_url: { url: pictures.uri(1) } },
            { type: 'text', text: 'hello' },
          ],
        },
      ],
    });
  });
});
