import { describe, expect, it } from 'vitest';
import { KvcError } from '../errors/index.js';
import { ChatCompletionRequest, ErrorBody, errorBody, requestError } from './index.js';

const faultOf = (change: object) => {
  const body = { model: 'm', messages: [{ role: 'user', content: 'x' }], ...change };
  const result = ChatCompletionRequest.safeParse(body);
  if (result.success) throw new Error('was accepted');
  return requestError(result.error.issues);
};

describe('errors of a request', () => {
  it('never show what was sent', () => {
    const secret = 'a private word';
    for (const change of [
      { temperature: secret },
      { stop: { secret } },
      { messages: [{ role: secret, content: secret }] },
      { messages: [{ role: 'user', content: [{ type: secret, text: secret }] }] },
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: secret }] }] },
      { tools: [secret] },
      { response_format: { type: secret } },
    ]) {
      expect(JSON.stringify(errorBody(faultOf(change)))).not.toContain(secret);
    }
  });

  it('cut names that are too long to read', () => {
    const name = 'x'.repeat(10_000);
    for (const change of [{ [name]: 1 }, { stream_options: { [name]: 1 } }]) {
      const error = faultOf(change);
      expect(error.param?.length).toBeLessThan(300);
      expect(error.message).toMatch(/…: this server has no such field$/);
      expect(error.message.length).toBeLessThan(300);
    }
  });

  it('find the branch of a union that was meant', () => {
    const content = [
      { type: 'text', text: 'x' },
      { type: 'image_url', image_url: { url: 'data:', size: 3 } },
    ];
    expect(faultOf({ messages: [{ role: 'user', content }] })).toMatchObject({
      code: 'INVALID_REQUEST',
      param: 'messages.0.content.1.image_url.size',
    });
  });

  it.each(['foo', 'constructor', 'toString', 'hasOwnProperty', 'prototype', '__proto__'])(
    'refuse the unknown field %s wherever it stands, unless it is null',
    (name) => {
      const user = (message: string) => `{"messages":[{"role":"user",${message}}]}`;
      const places: [string, (field: string) => string][] = [
        ['', (field) => `{${field}}`],
        ['stream_options.', (field) => `{"stream":true,"stream_options":{${field}}}`],
        ['messages.0.', (field) => user(`"content":"x",${field}`)],
        ['messages.0.content.0.', (field) => user(`"content":[{"type":"text","text":"x",${field}}]`)],
        [
          'messages.0.content.0.image_url.',
          (field) => user(`"content":[{"type":"image_url","image_url":{"url":"data:",${field}}}]`),
        ],
      ];
      for (const [path, body] of places) {
        for (const value of ['1', '{}', '[]', '"x"', 'false']) {
          const change = JSON.parse(body(`"${name}":${value}`)) as object;
          expect(faultOf(change)).toMatchObject({ code: 'INVALID_REQUEST', param: `${path}${name}` });
        }
        expect(() => faultOf(JSON.parse(body(`"${name}":null`)) as object)).toThrow('was accepted');
      }
      const bias = JSON.parse(`{"logit_bias":{"1":1,"${name}":1}}`) as object;
      expect(faultOf(bias)).toMatchObject({ code: 'INVALID_REQUEST', param: `logit_bias.${name}` });
    },
  );

  it('leave what is read by nobody alone', () => {
    const metadata = JSON.parse('{"__proto__":1,"constructor":{}}') as object;
    expect(() => faultOf({ metadata })).toThrow('was accepted');
  });

  it('name the text that holds half of a character', () => {
    const half = 'a\ud83db';
    const part = [{ type: 'text', text: half }];
    for (const [change, param] of [
      [{ messages: [{ role: 'user', content: half }] }, 'messages.0.content'],
      [{ messages: [{ role: 'user', content: part }] }, 'messages.0.content.0.text'],
      [{ messages: [{ role: 'system', content: part }] }, 'messages.0.content.0.text'],
      [{ messages: [{ role: 'assistant', content: half }] }, 'messages.0.content'],
      [{ stop: half }, 'stop'],
      [{ stop: ['x', half] }, 'stop.1'],
      [{ cache_salt: half }, 'cache_salt'],
    ] as const)
      expect(faultOf(change)).toMatchObject({ code: 'INVALID_REQUEST', param });
  });

  it('bound a stop string, which is looked for with each token', () => {
    const longest = 'x'.repeat(4_096);
    expect(faultOf({ stop: ['x', `${longest}x`] })).toMatchObject({
      code: 'INVALID_REQUEST',
      param: 'stop.1',
    });
    expect(() => faultOf({ stop: longest })).toThrow('was accepted');
  });

  it('have OpenAI’s shape, their code in lower case', () => {
    const error = new KvcError('CONTEXT_LENGTH_EXCEEDED', 'too long', { param: 'messages' });
    expect(ErrorBody.parse(errorBody(error))).toEqual({
      error: {
        message: 'too long',
        type: 'invalid_request_error',
        param: 'messages',
        code: 'context_length_exceeded',
      },
    });
  });
});
