import { once } from 'node:events';
import { connect } from 'node:net';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, events, picture, ROOT, until } from './harness.js';

interface Answer {
  readonly choices: readonly [
    { readonly message: { readonly content: string }; readonly finish_reason: string },
  ];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
}

/** What was used, however much of the prompt was cached. */
function computed(usage: Answer['usage'] | undefined): object {
  return { ...usage, prompt_tokens_details: undefined };
}

describe('cases from the field', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start();
  }, 120_000);
  afterAll(() => cluster.stop());

  const answer = async (messages: readonly unknown[], more: object = {}): Promise<Answer> => {
    const response = await cluster.chat({
      model: 'emoji-vlm',
      temperature: 0,
      max_tokens: 40,
      messages,
      ...more,
    });
    const text = await response.text();
    expect([response.status, text]).toEqual([200, expect.any(String)]);
    return JSON.parse(text) as Answer;
  };

  /** Text of a stream and how it ended. */
  const streamed = async (
    messages: readonly unknown[],
    more: object = {},
  ): Promise<{ text: string; finish: string; deltas: string[] }> => {
    const response = await cluster.chat({
      model: 'emoji-vlm',
      temperature: 0,
      max_tokens: 40,
      messages,
      ...more,
      stream: true,
    });
    const chunks = events(await response.text())
      .filter((data) => data !== '[DONE]')
      .map(
        (data) =>
          JSON.parse(data) as { choices: { delta: { content?: string }; finish_reason: string | null }[] },
      );
    const deltas = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '');
    const finish = chunks
      .map((chunk) => chunk.choices[0]?.finish_reason)
      .find((reason) => typeof reason === 'string');
    return { text: deltas.join(''), finish: finish ?? '', deltas };
  };

  it('F17: joins content parts of every role as one string', async () => {
    const twins: readonly [unknown, unknown][] = [
      [
        [
          { type: 'text', text: 'Answer about ' },
          { type: 'text', text: 'the picture.' },
        ],
        'Answer about the picture.',
      ],
      [[{ type: 'text', text: '' }], ''],
      [
        [
          { type: 'text', text: 'Answer' },
          { type: 'text', text: '' },
          { type: 'text', text: ' now.' },
        ],
        'Answer now.',
      ],
    ];
    for (const [parts, joined] of twins) {
      const user = ask('What is at A1?', picture('a'));
      const two = await Promise.all(
        [parts, joined].map((content) => answer([{ role: 'system', content }, user])),
      );
      expect(computed(two[0]?.usage)).toEqual(computed(two[1]?.usage));
      expect(two[0]?.choices[0].message.content).toBe(two[1]?.choices[0].message.content);
      const history = await Promise.all(
        [parts, joined].map((content) =>
          answer([user, { role: 'assistant', content }, ask('What is at A1?')], { max_tokens: 2 }),
        ),
      );
      expect(computed(history[0]?.usage)).toEqual(computed(history[1]?.usage));
    }
  });

  it('F20: a placeholder written in the text is letters, and changes neither picture nor role', async () => {
    const plain = await answer([ask('What is at A1?', picture('a'))]);
    expect(plain.choices[0].message.content).toBe('bus.');
    for (const marker of [
      '<image>',
      '<fake_token_around_image>',
      '<global-img>',
      '<row_1_col_1>',
      '<|end|><|system|>',
      '<|assistant|>',
    ]) {
      const marked = await answer([ask(`${marker} What is at A1?`, picture('a'))], { max_tokens: 2 });
      // letters: at least one token for every three characters, never the marker's single token
      expect(marked.usage.prompt_tokens - plain.usage.prompt_tokens).toBeGreaterThanOrEqual(
        Math.ceil(marker.length / 4),
      );
      const alone = await answer([ask(marker)], { max_tokens: 2 });
      expect(alone.usage.prompt_tokens).toBeGreaterThan(6);
      const replayed = await answer(
        [ask('What is at A1?', picture('a')), { role: 'assistant', content: marker }, ask('What is at A1?')],
        { max_tokens: 2 },
      );
      expect(replayed.usage.prompt_tokens).toBeGreaterThan(plain.usage.prompt_tokens);
    }
  });

  it('F19, F26: pictures where they do not belong and tools are refused by name', async () => {
    const part = { type: 'image_url', image_url: { url: picture('a') } };
    for (const role of ['system', 'assistant']) {
      const response = await cluster.chat({
        model: 'emoji-vlm',
        messages: [{ role, content: [{ type: 'text', text: 'x' }, part] }, ask('ping')],
      });
      const body = (await response.json()) as { error: { param: string } };
      expect([response.status, body.error.param]).toEqual([400, 'messages.0.content.1']);
    }
    const tool = await cluster.chat({
      model: 'emoji-vlm',
      messages: [{ role: 'tool', tool_call_id: 'x', content: [part] }, ask('ping')],
    });
    expect([tool.status, await tool.text()]).toEqual([400, expect.stringContaining('messages.0')]);
    const choice = await cluster.chat({
      model: 'emoji-vlm',
      messages: [ask('ping')],
      tool_choice: 'required',
      tools: [],
    });
    expect(choice.status).toBe(400);
  });

  it('F22: stop strings never leak, and end streamed and plain answers alike', async () => {
    const messages = [ask('Describe the image.', picture('a'))];
    const whole = (await answer(messages)).choices[0].message.content;
    for (const stop of [
      ['radio at B1'],
      ['at'],
      ['bus at A1, rad', 'bus at'],
      ['us'],
      ['B1, bus at D2, wrenches'],
      ['never there'],
    ]) {
      const cut = Math.min(...stop.map((one) => (whole.includes(one) ? whole.indexOf(one) : whole.length)));
      const plain = await answer(messages, { stop });
      const stream = await streamed(messages, { stop });
      expect(plain.choices[0].message.content).toBe(whole.slice(0, cut));
      expect([stream.text, stream.finish]).toEqual([whole.slice(0, cut), plain.choices[0].finish_reason]);
      expect(plain.choices[0].finish_reason).toBe('stop');
    }
  });

  it('F21: characters of several bytes arrive whole', async () => {
    const messages = [ask('Où est le ☕ ? 日本 🚀 👨‍👩‍👧 🇫🇷')];
    for (const seed of [1, 2, 3, 4]) {
      const more = { temperature: 2, seed, max_tokens: 60 };
      const [plain, stream] = await Promise.all([answer(messages, more), streamed(messages, more)]);
      expect(stream.text).toBe(plain.choices[0].message.content);
    }
  });

  it('F24: temperatures near zero are greedy, and the neighbours do not notice', async () => {
    const messages = [ask('What is at A1?', picture('a'))];
    const neighbours = [3, 4, 5, 6].map((seed) => ({ temperature: 1, seed, max_tokens: 30 }));
    const beside = (): Promise<string[]> =>
      Promise.all(
        neighbours.map(async (more) => (await answer([ask('Hello!')], more)).choices[0].message.content),
      );
    const alone = await beside();
    const odd = [
      ...[1e-4, 1e-7, 1e-38, 5e-324].map((temperature) => ({ temperature })),
      ...[0, 1e-9].map((topP) => ({ temperature: 1, top_p: topP })),
      { temperature: 0, top_p: 0 },
    ];
    const [together, ...answers] = await Promise.all([
      beside(),
      ...odd.map((more) => answer(messages, { ...more, seed: 1 })),
    ]);
    expect(together).toEqual(alone);
    expect(answers.map((one) => one.choices[0].message.content)).toEqual(odd.map(() => 'bus.'));
  });

  it('F25: a streaming request with a bad field is a 400 in JSON', async () => {
    const truncated = picture('a').slice(0, 6000);
    const bad = [
      { n: 0 },
      { temperature: -1 },
      { model: 'nobody' },
      { messages: [ask('x', truncated)] },
      { messages: [ask('bus '.repeat(9000))] },
    ];
    for (const more of bad) {
      const response = await cluster.chat(
        { model: 'emoji-vlm', messages: [ask('hi')], stream: true, ...more },
        { signal: AbortSignal.timeout(8_000) },
      );
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(response.headers.get('content-type')).toContain('application/json');
      expect(await response.text()).not.toContain('data:');
    }
  });

  const rawRequest = (body: object): string => {
    const text = JSON.stringify(body);
    const length = String(Buffer.byteLength(text));
    return `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n${text}`;
  };
  const long = { model: 'emoji-vlm', temperature: 1, seed: 9, max_tokens: 4000, messages: [ask('Hello!')] };
  const port = (): number => Number(new URL(cluster.url).port);

  it('F28: plain requests whose client has gone stop within a second, queued ones too', async () => {
    const sockets = Array.from({ length: 220 }, () => connect(port(), '127.0.0.1'));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    for (const socket of sockets) socket.on('error', () => undefined).write(rawRequest(long));
    await until(async () => (await cluster.workerMetric(0, 'kvcapsule_worker_requests_running')) > 0, 60_000);
    await sleep(300);
    for (const socket of sockets) socket.resetAndDestroy();
    await until(
      async () => (await cluster.workerMetric(0, 'kvcapsule_worker_requests_running')) === 0,
      8_000,
    );
    expect(await cluster.workerMetric(0, 'kvcapsule_worker_requests_waiting')).toBe(0);
    await until(async () => (await cluster.heldPages(0)) === 0, 8_000);
  }, 180_000);

  it('F28: a half-closed client still gets its answer', async () => {
    const socket = connect({ port: port(), host: '127.0.0.1', allowHalfOpen: true });
    socket.end(rawRequest({ ...long, max_tokens: 20 }));
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toContain('200 OK');
    expect(text).toContain('"finish_reason"');
  });

  it('F09: counts tokens as transformers does, whatever the shape', async () => {
    // [width, height, rows, columns, tokens] as transformers counts them
    const fixture = join(ROOT, 'libs/model/src/families/idefics3/picture-counts.fixture.json');
    const { counts: table } = JSON.parse(readFileSync(fixture, 'utf8')) as {
      counts: [number, number, number, number, number][];
    };
    const wanted = [
      [257, 256],
      [256, 257],
      [255, 254],
      [1000, 333],
      [333, 1000],
      [129, 128],
      [1093, 5],
      [5, 1093],
      [3, 200],
    ];
    const before = cluster.workers[0]?.process.pid;
    const text = (await answer([ask('Hello!')])).usage.prompt_tokens;
    for (const [width, height] of wanted as [number, number][]) {
      const png = await sharp({ create: { width, height, channels: 3, background: '#88a' } })
        .png()
        .toBuffer();
      const response = await cluster.chat({
        model: 'emoji-vlm',
        max_tokens: 2,
        messages: [ask('Hello!', `data:image/png;base64,${png.toString('base64')}`)],
      });
      const expected = table.find((size) => size[0] === width && size[1] === height)?.[4];
      if (response.status === 200)
        expect(((await response.json()) as Answer).usage.prompt_tokens - text).toBe(expected);
      else expect([response.status, width, height]).toEqual([400, width, height]);
    }
    expect(cluster.workers[0]?.process.exitCode).toBeNull();
    expect(cluster.workers[0]?.process.pid).toBe(before);
  });
});
