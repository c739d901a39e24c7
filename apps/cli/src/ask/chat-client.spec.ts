import { once } from 'node:events';
import { createServer, type RequestListener, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { CliError } from '../failure.js';
import { servedModel, streamAnswer } from './chat-client.js';

const QUESTION = { model: 'm', imageUrl: 'data:image/png;base64,AA==', question: 'What?', maxTokens: 8 };
const USAGE = {
  prompt_tokens: 3,
  completion_tokens: 2,
  total_tokens: 5,
  prompt_tokens_details: { cached_tokens: 0 },
};

function chunk(content: string | undefined, usage?: typeof USAGE): string {
  const choices =
    content === undefined ? [] : [{ index: 0, delta: { content }, logprobs: null, finish_reason: null }];
  const names = {
    id: 'x',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'm',
    system_fingerprint: 'fp',
  };
  const body = { ...names, choices };
  return `data: ${JSON.stringify(usage === undefined ? body : { ...body, usage })}\n\n`;
}

describe('chat client', () => {
  let server: HttpServer | undefined;
  afterEach(() => server?.close());

  async function listen(answer: RequestListener): Promise<{ url: string }> {
    server = createServer(answer).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}` };
  }

  it('hands over each piece and returns the usage', async () => {
    const at = await listen((_, response) => {
      response.end(`${chunk('bi')}${chunk('rd.')}${chunk(undefined, USAGE)}data: [DONE]\n\n`);
    });
    const pieces: string[] = [];
    expect(await streamAnswer(at, QUESTION, { text: (text) => pieces.push(text) })).toEqual(USAGE);
    expect(pieces).toEqual(['bi', 'rd.']);
  });

  it('tells how much of the prompt is computed, where somebody listens', async () => {
    const asked: unknown[] = [];
    const at = await listen((request, response) => {
      void json(request).then((body) => asked.push((body as { stream_options: unknown }).stream_options));
      response.write(': encode 64/1088\n\n: prefill 512/1137\n\n:\n\n: other 1/2\n\n');
      response.end(`${chunk('bi')}${chunk(undefined, USAGE)}data: [DONE]\n\n`);
    });
    const told: unknown[] = [];
    const text = (piece: string) => told.push(piece);
    await streamAnswer(at, QUESTION, { text, prefilled: (...counts) => told.push(counts) });
    expect(told).toEqual([['encode', 64, 1088], ['prefill', 512, 1137], 'bi']);
    await streamAnswer(at, QUESTION, { text });
    expect(asked).toEqual([{ include_usage: true, include_prefill_progress: true }, { include_usage: true }]);
  });

  it('tells an answer that broke off from one that is done', async () => {
    const at = await listen((_, response) => response.end(chunk('bi')));
    await expect(streamAnswer(at, QUESTION, { text: () => undefined })).rejects.toThrow('broke off');
  });

  it.each<[string, RequestListener, RegExp]>([
    [
      'a connection that is cut',
      (_, response) => {
        response.write(chunk('bi'));
        setTimeout(() => response.destroy(), 20);
      },
      /broke off/,
    ],
    ['events of another kind', (_, response) => response.end('data: <html>\n\n'), /something else/],
    ['an answer of another form', (_, response) => response.end('data: {"choices":7}\n\n'), /something else/],
  ])('says in a sentence what it met: %s', async (_, answer, said) => {
    const at = await listen(answer);
    const answering = streamAnswer(at, QUESTION, { text: () => undefined });
    await expect(answering).rejects.toThrow(CliError);
    await expect(answering).rejects.toThrow(said);
  });

  it('takes what a newer server tells beyond what is known', async () => {
    const at = await listen((_, response) => {
      response.end(`${chunk('bi').replace('{', '{"new":1,')}data: [DONE]\n\n`);
    });
    const pieces: string[] = [];
    await streamAnswer(at, QUESTION, { text: (text) => pieces.push(text) });
    expect(pieces).toEqual(['bi']);
  });

  it('is told by no page of another server which model to ask', async () => {
    const at = await listen((_, response) => response.end('<html>'));
    await expect(servedModel(at)).rejects.toThrow('in another form');
  });

  it('passes on what the server says, before and in the middle of a stream', async () => {
    const error = {
      error: { message: 'All workers are full', type: 'server_error', param: null, code: 'no_capacity' },
    };
    const refusing = await listen((_, response) => response.writeHead(503).end(JSON.stringify(error)));
    await expect(streamAnswer(refusing, QUESTION, { text: () => undefined })).rejects.toThrow(
      'All workers are full (no_capacity)',
    );
    server?.close();
    const breaking = await listen((_, response) =>
      response.end(`${chunk('bi')}data: ${JSON.stringify(error)}\n\n`),
    );
    await expect(streamAnswer(breaking, QUESTION, { text: () => undefined })).rejects.toThrow(
      'All workers are full',
    );
  });

  it('says that nothing listens', async () => {
    await expect(servedModel({ url: 'http://127.0.0.1:9' })).rejects.toThrow(
      'Nothing answers at http://127.0.0.1:9',
    );
  });
});
