import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChatCompletion, ChatCompletionChunk } from '@kvcapsule/contracts/openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { delta, echo, endless, failed, finished, silent, started } from '../testing/fake-worker.js';
import { Harness, until } from '../testing/harness.js';

let router: Harness;
beforeAll(async () => {
  router = await new Harness().start();
});
afterAll(() => router.stop());
beforeEach(() => {
  router.worker.script = echo;
  router.worker.received.length = 0;
  router.worker.aborted.length = 0;
});

/** The payloads of a stream, parsed but for [DONE]. */
const events = async (response: Response) =>
  (await response.text())
    .split('\n\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => (line === 'data: [DONE]' ? '[DONE]' : (JSON.parse(line.slice(6)) as unknown)));

const errorOf = async (response: Response) =>
  ((await response.json()) as { error: Record<string, unknown> }).error;
const gone = () => router.worker.running === 0 && router.ports.leases.size === 0;

describe('an answer', () => {
  it('comes whole, with its usage', async () => {
    const response = await router.chat('héllo');
    expect(response.status).toBe(200);
    expect(response.headers.get('x-request-id')).toMatch(/^req-/);
    const body = ChatCompletion.parse(await response.json());
    expect(body.choices[0]).toMatchObject({ message: { content: 'héllo' }, finish_reason: 'stop' });
    expect(body.usage).toEqual({
      prompt_tokens: 5,
      completion_tokens: 5,
      total_tokens: 10,
      prompt_tokens_details: { cached_tokens: 1 },
      kv_cache: { codec: 'capsule', bytes: 100, raw_bytes: 300, pictures: { bytes: 40, raw_bytes: 200 } },
    });
    await until(gone);
  });

  it('streams', async () => {
    const response = await router.chat('a"é😀', { stream: true });
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const all = await events(response);
    expect(all.pop()).toBe('[DONE]');
    const chunks = all.map((event) => ChatCompletionChunk.parse(event));
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '' });
    expect(chunks.map((c) => c.choices[0]?.delta.content ?? '').join('')).toBe('a"é😀');
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('stop');
    expect(new Set(chunks.map((c) => c.id)).size).toBe(1);
    expect(chunks.every((c) => c.usage === undefined)).toBe(true);
  });

  it('streams its usage last when asked to', async () => {
    const all = await events(
      await router.chat('abc', { stream: true, stream_options: { include_usage: true } }),
    );
    const chunks = all.slice(0, -1).map((event) => ChatCompletionChunk.parse(event));
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 3 } });
    expect(chunks.slice(0, -1).every((c) => c.usage === null)).toBe(true);
  });

  it('sends text that was held back, and the length as reason', async () => {
    router.worker.script = (request, say) => say(started(), delta('ab'), finished(request, 9, 2, 'cd'));
    const body = ChatCompletion.parse(await (await router.chat()).json());
    expect(body.choices[0]).toMatchObject({ message: { content: 'abcd' }, finish_reason: 'length' });
    expect(body.choices[0]).not.toHaveProperty('finish_details');
    const all = await events(await router.chat('abc', { stream: true }));
    expect(all.slice(1, -2).map((c) => ChatCompletionChunk.parse(c).choices[0]?.delta.content)).toEqual([
      'ab',
      'cd',
    ]);
  });

  it('passes sampling on, clipped to the context', async () => {
    const asked = {
      temperature: 0.5,
      top_p: 0.9,
      top_k: 7,
      seed: -1,
      stop: 'X',
      max_completion_tokens: 4_000,
    };
    await router.chat('abc', asked);
    const [request] = router.worker.received;
    expect(request).toMatchObject({ maxTokens: 62, stop: ['X'] });
    expect(request?.sampling).toMatchObject({ topK: 7, seed: 2n ** 64n - 1n });
    expect(request?.sampling?.temperature).toBeCloseTo(0.5);
  });

  it('passes penalties, bias and the rest of the sampling on', async () => {
    await router.chat('abc', {
      ...{ min_p: 0.25, presence_penalty: 0.5, frequency_penalty: -1, repetition_penalty: 1.25 },
      ...{
        logit_bias: { 7: -100, 12: 3.5 },
        logprobs: true,
        top_logprobs: 4,
        min_tokens: 2,
        ignore_eos: true,
      },
    });
    expect(router.worker.received[0]?.sampling).toMatchObject({
      ...{ minP: 0.25, presencePenalty: 0.5, frequencyPenalty: -1, repetitionPenalty: 1.25 },
      logitBias: [
        { tokenId: 7, bias: -100 },
        { tokenId: 12, bias: 3.5 },
      ],
      ...{ topLogprobs: 4, minTokens: 2, ignoreEos: true },
    });
    await router.chat('abc', { logprobs: true });
    await router.chat('abc', { logprobs: false });
    expect(router.worker.received.map(({ sampling }) => sampling?.topLogprobs)).toEqual([4, 0, undefined]);
  });

  it('says on whose account it runs, whoever the body says', async () => {
    for (const more of [{}, { user: 'other' }]) await router.chat('abc', more);
    expect(router.worker.received.map(({ tenant }) => tenant)).toEqual(['default', 'default']);
  });

  it('passes the cache salt on, and refuses an empty one', async () => {
    for (const salt of ['a', undefined]) await router.chat('abc', { cache_salt: salt });
    expect(router.worker.received.map(({ cacheSalt }) => cacheSalt)).toEqual(['a', '']);
    for (const salt of ['', 'a'.repeat(257), 7])
      expect((await router.chat('abc', { cache_salt: salt })).status).toBe(400);
  });

  it('passes the priority on, and refuses one that is no whole number', async () => {
    for (const priority of [-3, 2 ** 31 - 1, undefined]) await router.chat('abc', { priority });
    expect(router.worker.received.map(({ priority }) => priority)).toEqual([-3, 2 ** 31 - 1, 0]);
    for (const priority of [0.5, 2 ** 31, 'high'])
      expect((await router.chat('abc', { priority })).status).toBe(400);
  });

  it('passes the codec on, and refuses one that no worker serves by naming those that are (kv_codec)', async () => {
    await router.chat('abc', { kv_codec: 'q8' });
    await router.chat('abc', { kv_codec: null });
    expect(router.worker.received.map(({ kvCodec }) => kvCodec)).toEqual(['q8', '']);
    const response = await router.chat('abc', { kv_codec: 'capsule-q4', stream: true });
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({
      ...{ code: 'kv_codec_unavailable', param: 'kv_codec' },
      message: expect.stringContaining('capsule, q8, raw') as string,
    });
  });

  it('carries log-probabilities with the text that they are of, streamed and not', async () => {
    const half = {
      tokenId: 1,
      text: '',
      bytes: Buffer.of(0xc3),
      logprob: -0.5,
      top: [],
      insideCharacter: true,
    };
    const whole = { insideCharacter: false };
    const rest = { tokenId: 2, text: 'é', bytes: Buffer.of(0xa9), logprob: -9999, top: [], ...whole };
    const name = { tokenId: 0, text: '<end>', bytes: undefined, logprob: -2 };
    const last = { tokenId: 3, text: 'x', bytes: Buffer.from('x'), logprob: -1, top: [name], ...whole };
    router.worker.script = (request, say) =>
      say(started(), delta('', [half]), delta('é', [rest]), delta('', [last]), finished(request, 3, 1, 'x'));
    const content = [
      { token: '', logprob: -0.5, bytes: [0xc3], top_logprobs: [] },
      { token: 'é', logprob: -9999, bytes: [0xa9], top_logprobs: [] },
      {
        ...{ token: 'x', logprob: -1, bytes: [0x78] },
        top_logprobs: [{ token: '<end>', logprob: -2, bytes: null }],
      },
    ];
    const body = ChatCompletion.parse(await (await router.chat('abc', { logprobs: true })).json());
    expect(body.choices[0]?.logprobs).toEqual({ content, refusal: null });
    const all = await events(await router.chat('abc', { logprobs: true, stream: true }));
    const choices = all.slice(0, -1).map((event) => ChatCompletionChunk.parse(event).choices[0]);
    expect(choices.map((choice) => choice?.logprobs)).toEqual([
      null,
      { content: content.slice(0, 2), refusal: null },
      { content: content.slice(2), refusal: null },
      null,
    ]);
    router.worker.script = (request, say) => say(started(), finished(request, 0));
    const empty = ChatCompletion.parse(await (await router.chat('abc', { logprobs: true })).json());
    expect(empty.choices[0]?.logprobs).toEqual({ content: [], refusal: null });
  });

  it.each([
    { temperature: 1e-4 },
    { temperature: 5e-324 },
    { top_p: 0 },
    { top_p: 1e-9 },
    { temperature: 0, top_p: 0 },
  ])('is greedy with %o (F24)', async (sampling) => {
    expect((await router.chat('abc', sampling)).status).toBe(200);
    expect(router.worker.received[0]?.sampling).toMatchObject({ temperature: 0, topP: 1 });
  });

  it('draws a seed when none is given', async () => {
    await router.chat();
    await router.chat();
    const [a, b] = router.worker.received;
    expect(a?.sampling?.seed).not.toBe(b?.sampling?.seed);
  });

  it('takes pictures of user messages in place', async () => {
    const picture = { type: 'image_url', image_url: { url: 'data:x', detail: 'low' } };
    await router.chat([{ type: 'text', text: 'ab' }, picture, { type: 'text', text: 'c' }, picture]);
    const [request] = router.worker.received;
    expect(request?.pictures.map(({ offset, length, param }) => ({ offset, length, param }))).toEqual([
      { offset: 2, length: 4, param: 'messages.0.content.1' },
      { offset: 7, length: 4, param: 'messages.0.content.3' },
    ]);
  });

  it.each(['system', 'developer', 'assistant', 'user'])(
    'joins the text parts of role %s (F17)',
    async (role) => {
      const parts = ['a', '', 'b'].map((text) => ({ type: 'text', text }));
      for (const content of [parts, 'ab', [{ type: 'text', text: '' }], '']) {
        const messages = [
          { role, content },
          { role: 'user', content: 'q' },
        ];
        expect((await router.post({ model: 'demo', messages })).status).toBe(200);
      }
      const texts = router.worker.received.map(({ tokenIds }) => String.fromCodePoint(...tokenIds));
      expect(texts).toEqual(['abq', 'abq', 'q', 'q']);
    },
  );

  it('takes what SDKs send along, and its own answers back', async () => {
    const answer = {
      role: 'assistant',
      content: 'x',
      refusal: null,
      annotations: [],
      tool_calls: [],
      audio: null,
    };
    const harmless = {
      user: 'u',
      metadata: { a: 'b' },
      store: true,
      service_tier: 'auto',
      parallel_tool_calls: true,
    };
    const nothing = {
      tools: [],
      tool_choice: 'auto',
      logit_bias: {},
      presence_penalty: 0,
      logprobs: false,
      n: 1,
    };
    const nulls = { stop: null, seed: null, temperature: null, max_tokens: null, stream_options: null };
    const messages = [answer, { role: 'user', content: 'q' }];
    const body = {
      model: 'demo',
      messages,
      ...harmless,
      ...nothing,
      ...nulls,
      response_format: { type: 'text' },
    };
    expect((await router.post(body)).status).toBe(200);
  });
});

describe('what clients send along', () => {
  const parts = [{ type: 'text', text: 'abc', cache_control: { type: 'ephemeral' }, uuid: 'u' }];

  it.each([
    [{ whatever: null, best_of: null }],
    [{ cache_control: { type: 'ephemeral' }, metadata: 7, user: { id: 1 } }],
    [{ messages: [{ role: 'user', content: parts, cache_control: {}, other: null }] }],
    [
      {
        messages: [
          { role: 'assistant', content: 'x', reasoning_content: 'thought', reasoning: null },
          { role: 'user', content: 'abc' },
        ],
      },
    ],
    [{ stream: true, stream_options: { include_usage: null, continuous_usage_stats: null, more: null } }],
    [
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image_url', image_url: { url: 'data:x', detail: 'original', format: 'image/png' } },
            ],
          },
        ],
      },
    ],
  ])('changes nothing: %j', async (change) => {
    expect((await router.chat('abc', change)).status).toBe(200);
    const texts = router.worker.received.map(({ tokenIds }) => String.fromCodePoint(...tokenIds));
    expect(['abc', 'xabc', '****']).toContain(texts[0]);
  });

  it.each([
    [{ stop: ['a', 'b', 'c', 'd', 'e'] }, /list of up to 4/],
    [{ stop: '' }, />=1 characters/],
    [{ stop: 7 }, /stop is a string of at least one character, or a list/],
    [
      { messages: [{ role: 'bot', content: 'x' }] },
      /role of a message is system, developer, user or assistant$/,
    ],
    [{ messages: [{ role: 'user', content: null }] }, /content is a string or a list of parts/],
    [{ messages: [{ role: 'user', content: [] }] }, /list of parts has at least one/],
    [
      { messages: [{ role: 'user', content: [{ type: 'picture' }] }] },
      /type of a part is text, or image_url/,
    ],
    [{ messages: [{ role: 'assistant', content: null }] }, /content is missing: /],
    [{ temperature: 3 }, /<=2/],
    [{ whatever: 1 }, /whatever: this server has no such field/],
  ])('is refused with what is allowed: %j', async (change, message) => {
    const response = await router.chat('abc', change);
    expect(response.status).toBe(400);
    expect((await errorOf(response))['message']).toMatch(message);
  });

  it.each(['__proto__', 'constructor', 'prototype', 'toString'])(
    'is refused by name where the unknown field is called %s',
    async (name) => {
      const field = (value: unknown) => JSON.parse(`{"${name}":${JSON.stringify(value)}}`) as object;
      for (const [change, param] of [
        [field({ a: 1 }), name],
        [{ stream: true, stream_options: field(0) }, `stream_options.${name}`],
        [{ messages: [{ role: 'user', content: 'abc', ...field([]) }] }, `messages.0.${name}`],
        [{ logit_bias: { 1: 1, ...field(1) } }, `logit_bias.${name}`],
      ] as const) {
        const response = await router.chat('abc', change);
        expect([response.status, (await errorOf(response))['param']]).toEqual([400, param]);
      }
    },
  );
});

const MANY_BIASES = Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1]));

describe('bad input', () => {
  const user = { role: 'user', content: 'x' };
  const text = { type: 'text', text: 'x' };
  const picture = { type: 'image_url', image_url: { url: 'data:x' } };
  it.each([
    [{ n: 0 }, 'invalid_request', 'n'],
    [{ n: 2 }, 'unsupported_parameter', 'n'],
    [{ temperature: -1 }, 'invalid_request', 'temperature'],
    [{ temperature: 'hot' }, 'invalid_request', 'temperature'],
    [{ top_p: 1.5 }, 'invalid_request', 'top_p'],
    [{ top_k: 1.5 }, 'invalid_request', 'top_k'],
    [{ max_tokens: 0 }, 'invalid_request', 'max_tokens'],
    [{ max_completion_tokens: '9' }, 'invalid_request', 'max_completion_tokens'],
    [{ seed: 1e300 }, 'invalid_request', 'seed'],
    [{ stop: ['a', 'b', 'c', 'd', 'e'] }, 'invalid_request', 'stop'],
    [{ stop: [''] }, 'invalid_request', 'stop.0'],
    [{ stream: 'yes' }, 'invalid_request', 'stream'],
    [{ best_of: 2 }, 'invalid_request', 'best_of'],
    [{ model: 7 }, 'invalid_request', 'model'],
    [{ model: 'other' }, 'model_not_found', 'model'],
    [{ tools: [{ type: 'function' }] }, 'unsupported_parameter', 'tools'],
    [{ tool_choice: 'required' }, 'unsupported_parameter', 'tool_choice'],
    [{ functions: [{}] }, 'unsupported_parameter', 'functions'],
    [{ response_format: { type: 'json_object' } }, 'unsupported_parameter', 'response_format'],
    [{ logprobs: 3 }, 'invalid_request', 'logprobs'],
    [{ top_logprobs: 3 }, 'invalid_request', 'top_logprobs'],
    [{ logprobs: true, top_logprobs: 21 }, 'invalid_request', 'top_logprobs'],
    [{ logit_bias: { 1: 101 } }, 'invalid_request', 'logit_bias.1'],
    [{ logit_bias: { one: 1 } }, 'invalid_request', 'logit_bias.one'],
    [{ logit_bias: { '01': 1 } }, 'invalid_request', 'logit_bias.01'],
    [{ logit_bias: MANY_BIASES }, 'invalid_request', 'logit_bias'],
    [{ frequency_penalty: 3 }, 'invalid_request', 'frequency_penalty'],
    [{ presence_penalty: 'much' }, 'invalid_request', 'presence_penalty'],
    [{ repetition_penalty: 0 }, 'invalid_request', 'repetition_penalty'],
    [{ min_p: 2 }, 'invalid_request', 'min_p'],
    [{ min_tokens: 9, max_tokens: 8 }, 'invalid_request', 'min_tokens'],
    [{ audio: {} }, 'unsupported_parameter', 'audio'],
    [{ modalities: ['audio'] }, 'unsupported_parameter', 'modalities'],
    [{ messages: [] }, 'invalid_request', 'messages'],
    [{ messages: 'hi' }, 'invalid_request', 'messages'],
    [{ messages: [{ role: 'wizard', content: 'x' }] }, 'invalid_request', 'messages.0.role'],
    [{ messages: [user, { role: 'tool', content: 'x' }] }, 'unsupported_parameter', 'messages.1.role'],
    [{ messages: [{ role: 'user' }] }, 'invalid_request', 'messages.0.content'],
    [{ messages: [{ role: 'user', content: 7 }] }, 'invalid_request', 'messages.0.content'],
    [
      { messages: [{ role: 'user', content: [{ type: 'hologram' }] }] },
      'invalid_request',
      'messages.0.content.0',
    ],
    [
      { messages: [{ role: 'user', content: [text, { type: 'text' }] }] },
      'invalid_request',
      'messages.0.content.1.text',
    ],
    [
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: 'data:' }] }] },
      'invalid_request',
      'messages.0.content.0.image_url',
    ],
    [
      { messages: [{ role: 'user', content: [text, { type: 'input_audio' }] }] },
      'unsupported_parameter',
      'messages.0.content.1',
    ],
    [
      { messages: [{ role: 'system', content: [text, picture] }, user] },
      'unsupported_parameter',
      'messages.0.content.1',
    ],
    [
      { messages: [user, { role: 'assistant', content: [picture] }] },
      'unsupported_parameter',
      'messages.1.content.0',
    ],
    [
      { messages: [user, { role: 'assistant', content: null, tool_calls: [{ id: 'c' }] }] },
      'unsupported_parameter',
      'messages.1.tool_calls',
    ],
    [{ messages: [{ role: 'assistant', content: null }] }, 'invalid_request', 'messages.0.content'],
    [
      { messages: [{ role: 'user', content: [{ ...picture, image_url: { url: 'bad:' } }] }] },
      'image_invalid',
      'messages.0.content.0',
    ],
    [{ messages: [{ role: 'user', content: 'x'.repeat(65) }] }, 'context_length_exceeded', 'messages'],
    [{ stream_options: {} }, 'invalid_request', 'stream_options'],
  ])('%j is refused as JSON, streamed or not (F19, F25, F26)', async (change, code, param) => {
    for (const stream of [false, true]) {
      if (stream && 'stream_options' in change) continue;
      const asked = { model: 'demo', messages: [user], ...(stream && { stream }), ...change };
      const response = await router.post(asked);
      expect(response.status).toBe(code === 'model_not_found' ? 404 : 400);
      expect(response.headers.get('content-type')).toContain('application/json');
      expect(await errorOf(response)).toMatchObject({ code, param, type: 'invalid_request_error' });
    }
    expect(router.worker.received).toEqual([]);
    expect(router.ports.leases.size).toBe(0);
  });

  it('says in the words of OpenAI that a prompt is too long', async () => {
    const { message } = await errorOf(await router.chat('x'.repeat(65)));
    expect(message).toMatch(/^This model's maximum context length is 64 tokens\. However, your messages /);
  });

  it('fills the context exactly', async () => {
    expect((await router.chat('x'.repeat(64))).status).toBe(200);
    expect(router.worker.received[0]?.maxTokens).toBe(1);
  });

  it('names the more useful of two faults', async () => {
    const response = await router.chat('x', { zebra: 1, tools: [{}] });
    expect(await errorOf(response)).toMatchObject({ code: 'unsupported_parameter', param: 'tools' });
  });

  it.each(['{"model":', '', '[1', 'nothing'])('body %j is not JSON', async (body) => {
    const response = await router.post(body);
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({ code: 'invalid_json', param: null });
  });

  it.each(['[]', '"x"', 'null', '7'])('body %s is not an object', async (body) => {
    expect((await router.post(body)).status).toBe(400);
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'nonsense'])(
    'content type %s is refused',
    async (type) => {
      const response = await router.post('{}', { headers: { 'content-type': type } });
      expect(response.status).toBe(415);
      expect(await errorOf(response)).toMatchObject({ code: 'unsupported_media_type' });
    },
  );

  it('refuses a body that is too large', async () => {
    const response = await router.chat('x'.repeat(200_000));
    expect(response.status).toBe(413);
    expect(await errorOf(response)).toMatchObject({ code: 'request_too_large' });
  });

  it('knows its routes', async () => {
    const response = await fetch(`${router.url}/v1/embeddings`, { method: 'POST' });
    expect(response.status).toBe(404);
    expect(await errorOf(response)).toMatchObject({ code: 'not_found' });
  });
});

describe('faults of the worker', () => {
  it('before the answer begins are plain JSON (F25)', async () => {
    router.worker.script = (_request, say) => say(failed('IMAGE_INVALID', 'cut', 'messages.0.content.1'));
    for (const stream of [true, false]) {
      const response = await router.chat('abc', { stream });
      expect(response.status).toBe(400);
      expect(await errorOf(response)).toMatchObject({ code: 'image_invalid', param: 'messages.0.content.1' });
    }
  });

  it('later are one event, and the stream closes without [DONE]', async () => {
    router.worker.script = async (_request, say) => {
      say(started(), delta('ab'));
      await sleep(10);
      say(failed('INTERNAL', 'broke'));
    };
    const all = await events(await router.chat('abc', { stream: true }));
    expect(all.at(-1)).toMatchObject({ error: { code: 'internal', message: 'broke' } });
    expect(all).not.toContain('[DONE]');
    const whole = await router.chat('abc');
    expect(whole.status).toBe(500);
    await until(gone);
  });

  it('with a code nobody knows are faults of the engine', async () => {
    router.worker.script = (_request, say) => say(failed('WHAT', 'x'));
    expect(await errorOf(await router.chat())).toMatchObject({ code: 'engine_failed' });
  });
});

describe('a client that goes away (F28)', () => {
  it.each([true, false])('frees its pages, stream: %s', async (stream) => {
    router.worker.script = endless;
    const controller = new AbortController();
    const response = router.chat('abc', { stream }, { signal: controller.signal });
    await until(() => router.worker.running === 1);
    if (stream) await (await response).body?.getReader().read();
    controller.abort();
    await response.catch(() => undefined);
    await until(gone);
    expect(router.worker.aborted).toHaveLength(1);
  });

  const raw = (body: object) => {
    const json = JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: 'abc' }], ...body });
    return `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(json)}\r\nconnection: close\r\n\r\n${json}`;
  };

  it('resets the connection', async () => {
    router.worker.script = silent;
    const socket = connect(Number(new URL(router.url).port), '127.0.0.1');
    socket.write(raw({}));
    await until(() => router.worker.running === 1);
    socket.resetAndDestroy();
    await until(gone);
  });

  it.each([true, false])('but only closed its sending side gets its answer, stream: %s', async (stream) => {
    router.worker.script = async (request, say) => {
      say(started());
      await sleep(700);
      say(delta('late'), finished(request, 1));
    };
    const socket = connect({
      port: Number(new URL(router.url).port),
      host: '127.0.0.1',
      allowHalfOpen: true,
    });
    let got = '';
    socket.on('data', (data) => (got += data.toString()));
    socket.end(raw({ stream }));
    await until(() => got.includes('late'));
    expect(got.startsWith('HTTP/1.1 200')).toBe(true);
    await until(gone);
  });
});
