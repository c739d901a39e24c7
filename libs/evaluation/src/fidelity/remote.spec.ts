import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { askRemote, compareRemote, firstModel } from './remote.js';

const TEXTS = ['yes', 'no', '.', '', '.'];
const logits = (...shares: number[]) => Float32Array.from(shares, Math.log);
const told = (token: string, ...top: [string, number][]) => ({
  token,
  top: top.map(([text, share]) => ({ token: text, logprob: Math.log(share) })),
});

describe('compareRemote', () => {
  const raw = {
    tokens: [0, 2, 3],
    logits: [logits(0.6, 0.3, 0.04, 0.03, 0.03), logits(0.1, 0.1, 0.4, 0.1, 0.3), logits(0, 0, 0, 1, 0)],
  };

  it('weighs what is told, tokens that read alike as one, and all the rest together', () => {
    const tokens = [told('yes', ['yes', 0.5], ['no', 0.4]), told('.', ['.', 0.7])];
    const { klNats, agreed } = compareRemote(raw, { text: 'yes.', tokens }, TEXTS);
    expect(agreed).toBe(2);
    const first = 0.6 * Math.log(0.6 / 0.5) + 0.3 * Math.log(0.3 / 0.4);
    expect(klNats).toHaveLength(2);
    expect(klNats[0]).toBeCloseTo(first, 5);
    expect(klNats[1]).toBeCloseTo(0, 5);
  });

  it('stops behind the first token that differs', () => {
    const tokens = [told('no', ['no', 0.9]), told('.', ['.', 1])];
    const { klNats, agreed } = compareRemote(raw, { text: 'no.', tokens }, TEXTS);
    expect(agreed).toBe(0);
    expect(klNats).toHaveLength(1);
    expect(klNats[0]).toBeCloseTo(0.3 * Math.log(0.3 / 0.9) + 0.7 * Math.log(0.7 / 0.1), 5);
  });
});

describe('a server', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  async function listen(answer: RequestListener): Promise<string> {
    server = createServer(answer).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }
  const png = Buffer.from('picture');
  const completion = (logprobs: unknown) => ({
    choices: [{ index: 0, message: { role: 'assistant', content: 'yes.' }, logprobs, finish_reason: 'stop' }],
    usage: { kv_cache: { codec: 'q4', bytes: 9, raw_bytes: 9, pictures: { bytes: 100, raw_bytes: 400 } } },
  });

  it('is asked greedily, with everything that a comparison takes', async () => {
    let body = '';
    const top = [{ token: 'yes', logprob: -0.1 }];
    const content = [{ token: 'yes', logprob: -0.1, top_logprobs: top }];
    const url = await listen((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => response.end(JSON.stringify(completion({ content }))));
    });
    const answer = await askRemote({ url, model: 'm', kvCodec: 'q4' }, png, 'Is there a bus?');
    expect(answer).toEqual({
      text: 'yes.',
      tokens: [{ token: 'yes', top }],
      pictureBytes: { held: 100, raw: 400 },
    });
    const asked = JSON.parse(body) as { messages: { content: unknown[] }[] };
    expect(asked).toMatchObject({ temperature: 0, logprobs: true, top_logprobs: 20, kv_codec: 'q4' });
    expect(asked.messages[0]?.content[0]).toEqual({
      type: 'image_url',
      image_url: { url: `data:image/png;base64,${png.toString('base64')}` },
    });
  });

  it.each([
    ['gives no log-probabilities', 200, completion(null), /no log-probabilities/],
    ['is no OpenAI server', 200, { hello: 1 }, /does not answer as OpenAI does/],
    ['refuses', 400, { error: { message: 'unknown codec' } }, /refused: unknown codec/],
    ['fails without a word', 500, '', /refused: 500/],
  ])('that %s ends the run with the reason', async (_, status, body, reason) => {
    const url = await listen((_request, response) => response.writeHead(status).end(JSON.stringify(body)));
    await expect(askRemote({ url, model: 'm' }, png, 'What?')).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(reason) as string,
    });
  });

  it('names its model, or is not there', async () => {
    const url = await listen((_, response) => response.end('{"data": [{"id": "emoji-vlm"}]}'));
    await expect(firstModel(url, undefined)).resolves.toBe('emoji-vlm');
    await expect(firstModel('http://127.0.0.1:9', undefined)).rejects.toThrow(/does not answer/);
  });
});
