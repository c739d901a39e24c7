import { FAKE_VOCAB } from '@kvcapsule/testing/engine';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { GenerateRequest } from '../generation/request.js';
import type { Detokenizer, TokenLogprob } from '../generation/text-stream.js';
import { CoreDriver, expectNothingLeft, forced, kindsOf, lease, requestOf } from '../testing/core-driver.js';
import type { RequestEvent } from './effects.js';

/** Tokens stand for parts of these characters, so that most answers have some that several tokens make. */
const PIECES = [
  'a',
  'b',
  'ab',
  ' ',
  ...['é', '😀', '日'].flatMap((character) => [...Buffer.from(character)]),
];

function bytesOf(token: number): Uint8Array | undefined {
  if (token % 13 === 12) return undefined;
  const piece = PIECES[token % PIECES.length] ?? '';
  return typeof piece === 'number' ? Uint8Array.of(piece) : Buffer.from(piece);
}

function byteDetokenizer(): Detokenizer {
  const decoder = new TextDecoder();
  const all: number[] = [];
  let told = 0;
  const whole = (): string => new TextDecoder().decode(Uint8Array.from(all));
  return {
    get pending() {
      return whole().length > told;
    },
    bytesOf,
    spell: (token) => `<${token}>`,
    push: (token) => {
      const bytes = bytesOf(token) ?? new Uint8Array();
      all.push(...bytes);
      const text = decoder.decode(bytes, { stream: true });
      told += text.length;
      return text;
    },
    flush: () => decoder.decode(),
  };
}

const END_TOKENS = new Set([2, 19, 33]);

const driverOf = (): CoreDriver =>
  new CoreDriver({
    blocks: 40,
    formats: [
      { tokens: 20, pages: 3 },
      { tokens: 0, bytesPerToken: 17 },
    ],
    config: {
      ...{ createDetokenizer: byteDetokenizer, stopTokenIds: END_TOKENS, codecs: ['raw', 'capsule', 'q8'] },
    },
  });

interface Answer {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly TokenLogprob[];
  readonly finished: Omit<Extract<RequestEvent, { kind: 'finished' }>, 'text'> | undefined;
}

const NOTHING: Answer = { text: '', tokenIds: [], logprobs: [], finished: undefined };

/** What a client has after these events. */
function told(events: readonly RequestEvent[], before = NOTHING): Answer {
  let answer = before;
  for (const event of events) {
    if (event.kind === 'finished') {
      const { text, ...finished } = event;
      answer = { ...answer, text: answer.text + text, finished };
    }
    if (event.kind !== 'delta') continue;
    answer = {
      ...answer,
      text: answer.text + event.text,
      tokenIds: [...answer.tokenIds, ...event.tokenIds],
      logprobs: [...answer.logprobs, ...event.logprobs],
    };
  }
  return answer;
}

async function eventsOf(driver: CoreDriver, request: GenerateRequest): Promise<readonly RequestEvent[]> {
  driver.events.delete('r');
  driver.submit('r', request, 0);
  await driver.settle();
  return driver.events.get('r') ?? [];
}

/** The events up to the delta of token `count`. */
function upTo(events: readonly RequestEvent[], count: number): readonly RequestEvent[] {
  let left = count;
  return events.filter((event) => event.kind === 'delta' && left-- > 0);
}

const stop = fc
  .array(fc.constantFrom('a', 'b', ' ', 'é', '😀', '\uFFFD'), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join(''));
const part = fc.oneof(
  fc.array(fc.integer({ min: 7, max: FAKE_VOCAB - 1 }), { minLength: 1, maxLength: 40 }),
  fc.record({ tokens: fc.constantFrom(5, 18, 20), mark: fc.nat(3) }),
);
const factor = fc.constantFrom(0, 0, 0.5);
const sampling = fc.record({
  ...{ temperature: fc.constantFrom(0, 1), seed: fc.bigInt({ min: 0n, max: 99n }) },
  ...{ presencePenalty: factor, frequencyPenalty: factor, repetitionPenalty: fc.constantFrom(1, 1.25) },
  ...{ minTokens: fc.constantFrom(0, 0, 4, 9), ignoreEos: fc.boolean() },
  topLogprobs: fc.option(fc.nat(3), { nil: undefined }),
});
const request = fc
  .record({
    parts: fc.array(part, { minLength: 1, maxLength: 3 }),
    sampling,
    maxTokens: fc.integer({ min: 1, max: 24 }),
    stop: fc.array(stop, { maxLength: 3 }),
    kvCodec: fc.constantFrom('', 'capsule', 'q8'),
  })
  .map(({ parts, ...asked }) =>
    requestOf('r', parts, { ...asked, sampling: forced(0, { ...asked.sampling, logitBias: [] }) }),
  );

describe('an answer that is cut after any of its tokens', () => {
  it('goes on elsewhere as if nothing had happened', async () => {
    const reasons = new Set<string | undefined>();
    await fc.assert(
      fc.asyncProperty(request, async (asked) => {
        const events = await eventsOf(driverOf(), asked);
        const whole = told(events);
        reasons.add(whole.finished?.reason);
        for (let count = 0; count <= whole.tokenIds.length; count += 1) {
          const driver = driverOf();
          const before = told(upTo(events, count));
          const rest = await eventsOf(driver, { ...asked, resumedTokenIds: before.tokenIds });
          expect([count, told(rest, before)]).toEqual([count, whole]);
          expectNothingLeft(driver);
        }
      }),
      { seed: 21, numRuns: 60 },
    );
    expect(reasons).toEqual(new Set(['stop', 'length']));
  });

  it('goes on in a worker that knows its prompt and more of it, and counts the prompt alone as cached', async () => {
    await fc.assert(
      fc.asyncProperty(request, fc.double({ min: 0, max: 1, noNaN: true }), async (asked, share) => {
        const driver = driverOf();
        const events = await eventsOf(driver, asked);
        const whole = told(events);
        const before = told(upTo(events, Math.floor(share * whole.tokenIds.length)));
        const rest = await eventsOf(driver, { ...asked, resumedTokenIds: before.tokenIds });
        const { finished, ...answer } = told(rest, before);
        expect([answer, finished?.reason]).toEqual([
          { text: whole.text, tokenIds: whole.tokenIds, logprobs: whole.logprobs },
          whole.finished?.reason,
        ]);
        const { promptTokens = 0, cachedTokens = 0 } = finished?.usage ?? {};
        expect(finished?.usage.completionTokens).toBe(whole.tokenIds.length);
        expect(cachedTokens).toBeLessThanOrEqual(promptTokens);
      }),
      { seed: 22, numRuns: 60 },
    );
  });
});

describe('an answer that has ended where it was cut', () => {
  it.each([
    ['by its length', { maxTokens: 2 }, [7, 7], 'length'],
    ['by an end token', { maxTokens: 9 }, [7, 19], 'stop'],
    ['by a stop string', { maxTokens: 9, stop: ['aa'] }, [0, 0], 'stop'],
  ] as const)('%s is finished at once, and leaves its lease', (_how, asked, resumedTokenIds, reason) => {
    const driver = driverOf();
    const more = { ...asked, stop: 'stop' in asked ? [...asked.stop] : [], ...lease('l') };
    driver.submit('r', requestOf('r', [[10], { tokens: 5, mark: 1 }], { ...more, resumedTokenIds }), 0);
    expect(kindsOf(driver, 'r')).toEqual(['finished']);
    expect(driver.events.get('r')?.[0]).toMatchObject({ reason, usage: { completionTokens: 2 } });
    expect(driver.declined).toEqual(['l']);
    expect(driver.owed).toBe(0);
    expectNothingLeft(driver);
  });
});
