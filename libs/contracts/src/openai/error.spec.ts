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
    const error = faultOf({ ['x'.repeat(10_000)]: 1 });
    expect(error.param?.length).toBeLessThan(300);
    expect(error.message.length).toBeLessThan(300);
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
