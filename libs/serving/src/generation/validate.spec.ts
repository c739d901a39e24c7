import { FAKE_END, FAKE_IMAGE_TOKEN, FAKE_VOCAB, FakeEngine } from '@kvcapsule/testing/engine';
import { describe, expect, it } from 'vitest';

import { requestOf } from '../testing/core-driver.js';
import type { GenerateRequest, GenerationSpec } from './request.js';
import { type Offer, validateGenerate } from './validate.js';

/** Rows of 8 bits for anything, and a fitted profile for pictures of 40 tokens. */
const { info: geometry } = new FakeEngine(64, [
  { tokens: 0, bytesPerToken: 17 },
  { tokens: 40, pages: 3 },
]);
const CONTEXT = geometry.contextTokens;
const OFFER: Offer = {
  ...{ geometry, codecs: ['raw', 'q8', 'capsule'], codec: 'raw', textUnderPressure: 'q8' },
  stopTokenIds: new Set([FAKE_END]),
};
const PICTURE = { tokens: 40, mark: 1 };

const validate = (changed: Partial<GenerateRequest>, offer: Partial<Offer> = {}): GenerationSpec =>
  validateGenerate(requestOf('r', [[10, 11]], changed), { ...OFFER, ...offer });
/** Of a request with these parts; `names` are its codec and whatever else it says. */
const specOf = (
  parts: Parameters<typeof requestOf>[1],
  names: Partial<GenerateRequest> = {},
  offer: Partial<Offer> = {},
): GenerationSpec => validateGenerate(requestOf('r', parts, names), { ...OFFER, ...offer });
const refused = (code: string, more: object = {}): Error =>
  expect.objectContaining({ code, ...more }) as Error;

describe('validateGenerate', () => {
  const [picture] = requestOf('r', [PICTURE]).pictures;
  it.each<[string, Partial<GenerateRequest>]>([
    ['requestId', { requestId: '' }],
    ['requestId', { requestId: 'r'.repeat(257) }],
    ['clientRequestId', { clientRequestId: 'a\nb' }],
    ['tokenIds', { tokenIds: [] }],
    ['tokenIds.1', { tokenIds: [1, -1] }],
    ['tokenIds', { tokenIds: [1, FAKE_VOCAB] }],
    ['pictures.0.offset', { pictures: [{ ...picture!, offset: -1 }] }],
    ['pictures.0.length', { pictures: [{ ...picture!, length: 0 }] }],
    ['pictures.0.contentSha256', { pictures: [{ ...picture!, contentSha256: new Uint8Array(31) }] }],
    ['maxTokens', { maxTokens: 0 }],
    ['resumedTokenIds.1', { resumedTokenIds: [1, -1] }],
    ['tokenIds', { resumedTokenIds: [FAKE_VOCAB] }],
    ['resumedTokenIds', { resumedTokenIds: [1, 2, 3], maxTokens: 2 }],
    ['choice', { choice: 1 }],
    ['tenant', { tenant: 't'.repeat(257) }],
  ])('refuses a request by its %s', (field, changed) => {
    expect(() => validate(changed)).toThrow(
      refused('INVALID_REQUEST', { message: expect.stringContaining(`${field}:`) as string }),
    );
  });

  it('takes tokens to the end of the vocabulary, and an answer to the end of the context', () => {
    expect(validate({ tokenIds: [FAKE_VOCAB - 1] }).promptTokenIds).toEqual([FAKE_VOCAB - 1]);
    const long = (tokens: number) => ({ tokenIds: Array.from({ length: tokens }, () => 9), maxTokens: 12 });
    expect(validate(long(CONTEXT - 1)).maxTokens).toBe(2);
    expect(validate(long(20)).maxTokens).toBe(12);
    expect(() => validate(long(CONTEXT + 1))).toThrow(refused('CONTEXT_LENGTH_EXCEEDED'));
  });

  it('hands on what it does not judge', () => {
    const lease = { leaseId: 'l', epoch: 3n, pages: 8 };
    const said = { clientRequestId: 'c', lease, stop: ['x'], priority: -2, remainingMs: 50 };
    expect(validate(said)).toMatchObject({ requestId: 'r', ...said });
  });

  it('shares nothing between tenants and salts; who names no tenant is the default one', () => {
    const names: Partial<GenerateRequest>[] = [
      {},
      { tenant: '' },
      { tenant: 'default' },
      { tenant: 'other' },
      { cacheSalt: 's' },
    ];
    const domains = names.map((name) => validate(name).domain);
    expect(new Set(domains.slice(0, 3)).size).toBe(1);
    expect(new Set(domains).size).toBe(3);
  });
});

describe('pictures', () => {
  const withPictures = (pictures: readonly { offset: number; length: number }[]) =>
    validate({
      tokenIds: Array.from({ length: 12 }, () => FAKE_IMAGE_TOKEN),
      pictures: pictures.map((span) => ({ ...span, param: 'p', contentSha256: new Uint8Array(32) })),
    });

  it('may touch each other and the end of the prompt', () => {
    const spans = [
      { offset: 0, length: 4 },
      { offset: 4, length: 8 },
    ];
    expect(withPictures(spans).pictures).toMatchObject(spans);
  });

  it.each([
    [0, [{ offset: 5, length: 8 }]],
    [
      1,
      [
        { offset: 0, length: 4 },
        { offset: 3, length: 2 },
      ],
    ],
    [
      1,
      [
        { offset: 6, length: 2 },
        { offset: 0, length: 2 },
      ],
    ],
  ])('are refused from number %i on at %j', (index, spans) => {
    expect(() => withPictures(spans)).toThrow(
      refused('INVALID_REQUEST', { message: expect.stringContaining(`pictures.${index}:`) as string }),
    );
  });

  it('are refused without an image token', () => {
    const text = { tokenIds: [10, 11, 12], pictures: requestOf('r', [PICTURE]).pictures };
    const pictures = text.pictures.map((one) => ({ ...one, offset: 0, length: 2 }));
    expect(() => validate({ ...text, pictures })).toThrow(
      refused('INVALID_REQUEST', { message: expect.stringContaining('pictures.0:') as string }),
    );
  });

  it('take the rows of their features in the order of their image tokens, their markers none', () => {
    const { pictures } = specOf([[10], { tokens: 2, mark: 1 }, { tokens: 3, mark: 2 }]);
    expect(pictures.map(({ featureRows, imageTokens }) => [imageTokens, [...featureRows]])).toEqual([
      [2, [-1, 0, 1, -1]],
      [3, [-1, 0, 1, 2, -1]],
    ]);
    expect(pictures.map(({ contentSha256 }) => contentSha256[0])).toEqual([2, 3]);
    expect(pictures.map(({ restRows }) => [...restRows])).toEqual([
      [0, 3],
      [0, 4],
    ]);
  });
});

describe('the codec', () => {
  const formsOf = ({ text, textUnderPressure, pictures: [picture] }: GenerationSpec) => ({
    text: text?.form.codec,
    textUnderPressure: textUnderPressure?.form.codec,
    picture: picture?.form.codec,
    pictureUnderPressure: picture?.underPressure?.form.codec,
  });

  it('is the default of the worker where none is named, and pages that run short may change the form', () => {
    expect(formsOf(specOf([PICTURE]))).toEqual({
      ...{ text: undefined, textUnderPressure: 'q8' },
      ...{ picture: 'raw', pictureUnderPressure: 'capsule' },
    });
    expect(formsOf(specOf([PICTURE], {}, { textUnderPressure: 'raw' })).textUnderPressure).toBeUndefined();
  });

  it('needs no second form for text that is stored already', () => {
    expect(formsOf(specOf([PICTURE], {}, { codec: 'q8' }))).toMatchObject({
      text: 'q8',
      textUnderPressure: undefined,
    });
  });

  it('is kept, whatever becomes of the pool, where it is named', () => {
    expect(formsOf(specOf([PICTURE], { kvCodec: 'raw' }))).toEqual({
      ...{ text: undefined, textUnderPressure: undefined },
      ...{ picture: 'raw', pictureUnderPressure: undefined },
    });
    expect(formsOf(specOf([PICTURE], { kvCodec: 'capsule' })).picture).toBe('capsule');
  });

  it('is refused where the worker does not serve it, by naming those that it does', () => {
    expect(() => validate({ kvCodec: 'q4' })).toThrow(
      refused('KV_CODEC_UNAVAILABLE', {
        param: 'kv_codec',
        message: expect.stringContaining('raw, q8, capsule') as string,
      }),
    );
  });
});

describe('sampling', () => {
  it('forbids the end tokens of this worker before the least number of tokens', () => {
    const sampling = {
      ...{ temperature: 1, topP: 1, topK: 0, minP: 0, seed: 1n, presencePenalty: 0, frequencyPenalty: 0 },
      ...{ repetitionPenalty: 1, logitBias: [], minTokens: 4, ignoreEos: false },
    };
    expect(validate({ sampling }).sampling.biasBeforeMin?.tokens).toEqual(Int32Array.of(FAKE_END));
    expect(() => validate({ sampling: { ...sampling, temperature: -1 } })).toThrow(
      refused('INVALID_REQUEST'),
    );
  });
});
