import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { ChatClient } from '../client/index.js';
import { distributionOf, ttftFromSendMs, ttftMs } from '../measurement/index.js';
import { ONE_EACH } from '../workload/index.js';
import type { LoadSpec } from './load-spec.js';
import { probeServer } from './probe.js';
import { ShardRun } from './run-shard.js';

type Answer = (response: ServerResponse, request: number) => unknown;

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A server whose every answer is the test's. */
async function serve(answer: Answer): Promise<string> {
  let requests = 0;
  server = createServer((request, response) => {
    request.resume().on('end', () => {
      answer(response, requests++);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/v1`;
}

const text = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
const usage = (written: number) =>
  `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 9, completion_tokens: written } })}\n\n`;
const DONE = 'data: [DONE]\n\n';

function stream(response: ServerResponse): ServerResponse {
  return response.writeHead(200, { 'content-type': 'text/event-stream' });
}

const whole: Answer = (response) => {
  stream(response).end(text('a') + text('b') + usage(2) + DONE);
};

const fixed = (tokens: number) => ({ kind: 'fixed', tokens }) as const;

function specOf(baseUrl: string, plan: Partial<LoadSpec['plan']>): LoadSpec {
  const mix = { promptTokens: fixed(4), outputTokens: fixed(2), sharedPrefixTokens: 0, turns: 1 };
  return {
    ...{ baseUrl, headers: { authorization: 'Bearer key' }, model: 'm', extraBody: {}, silenceMs: 5_000 },
    plan: {
      shape: { kind: 'open', profile: { kind: 'constant', perSecond: 50 }, spacing: 'even' },
      ...{ seed: 1, warmUpMs: 0, drainMs: 10_000, thinkMs: 0, mostOpen: 1_000 },
      ...plan,
    },
    source: { kind: 'generated', mix, words: ONE_EACH },
  };
}

async function run(baseUrl: string, plan: Partial<LoadSpec['plan']>) {
  const spec = specOf(baseUrl, plan);
  const shard = await ShardRun.prepare({ spec, shard: { index: 0, of: 1 }, onState: () => undefined });
  return (await shard.start(Date.now() + 50)).measured;
}

describe('a load', () => {
  it('shows a server that stands still for a second in the percentiles of all who were to ask in it', async () => {
    const beganMs = Date.now();
    // the server computes nothing else meanwhile, as a process that collects garbage
    const isStill = () => Date.now() - beganMs > 500 && Date.now() - beganMs < 1_500;
    const baseUrl = await serve(async (response) => {
      while (isStill()) await sleep(5);
      whole(response, 0);
    });
    const { records, counts } = await run(baseUrl, { durationMs: 2_500 });
    expect(counts).toMatchObject({ started: 125, ok: 125 });
    const ttft = distributionOf(records.map(ttftMs));
    // two fifths of the requests were to be sent in that second, and wait half of it on average
    expect(ttft.p99).toBeGreaterThan(800);
    expect(ttft.p90).toBeGreaterThan(500);
    expect(records.filter((record) => ttftMs(record) > 500).length).toBeGreaterThan(20);
  });

  it('in a closed loop hides what the open loop shows', async () => {
    const beganMs = Date.now();
    const isStill = () => Date.now() - beganMs > 500 && Date.now() - beganMs < 1_500;
    const baseUrl = await serve(async (response) => {
      await sleep(20);
      while (isStill()) await sleep(5);
      whole(response, 0);
    });
    const { records } = await run(baseUrl, { shape: { kind: 'closed', concurrency: 1 }, durationMs: 2_500 });
    // one caller waits out the stall in one request
    expect(records.filter((record) => ttftFromSendMs(record) > 500).length).toBeLessThanOrEqual(5);
    expect(distributionOf(records.map(ttftFromSendMs)).most).toBeGreaterThan(800);
  });

  it('tells errors apart, and loses no request', async () => {
    const faults: Answer[] = [
      whole,
      (response) => response.writeHead(503).end(JSON.stringify({ error: { code: 'router_no_capacity' } })),
      (response) => response.writeHead(429).end('<html>secret</html>'),
      (response) => {
        stream(response).write(text('a'), () => response.destroy());
      },
      (response) => {
        stream(response).end(text('a') + 'data: {"choices":oops\n\n');
      },
      (response) => {
        stream(response).end(`${text('a')}data: {"error":{"code":"engine_fault","message":"secret"}}\n\n`);
      },
      (response) => {
        stream(response).end(text('a'));
      },
      (response) => {
        stream(response).end(DONE);
      },
      (response) => response.writeHead(307, { location: '/elsewhere' }).end(),
      (response) => response.writeHead(200).end('{"choices":[]}'),
      (response) => {
        response.destroy();
      },
      (response) => {
        response.socket?.end('SSH-2.0-secret\r\n');
      },
    ];
    const baseUrl = await serve((response, request) => faults[request % faults.length]?.(response, request));
    const { counts } = await run(baseUrl, { requests: 120 });
    expect(counts).toEqual({
      ...{ started: 120, ok: 10, cancelled: 0 },
      errors: {
        ...{ 'http_503 router_no_capacity': 10, http_429: 10, broken_off: 20, connection_lost: 10 },
        ...{ http_307: 10, garbage: 30, 'stream_error engine_fault': 10, no_text: 10 },
      },
    });
  });

  it('counts a server that is not there as such', async () => {
    const baseUrl = await serve(whole);
    server?.close();
    await sleep(20);
    const { counts } = await run(baseUrl, { requests: 5 });
    expect(counts).toEqual({ started: 5, ok: 0, cancelled: 0, errors: { connect: 5 } });
  });

  it('gives up answers that do not end', async () => {
    const baseUrl = await serve((response) => {
      stream(response).write(text('a'));
    });
    const { counts } = await run(baseUrl, { requests: 5, drainMs: 200 });
    expect(counts).toEqual({ started: 5, ok: 0, cancelled: 5, errors: {} });
  });
});

describe('a probe', () => {
  const client = (baseUrl: string) => new ChatClient({ baseUrl, headers: {}, silenceMs: 5_000 });

  it('learns how many tokens a word is', async () => {
    let prompts = 0;
    const baseUrl = await serve((response) => {
      prompts += 1;
      const read = prompts === 1 ? 20 + 2 * 16 : 20 + 2 * 272;
      const counted = { prompt_tokens: read, completion_tokens: 1 };
      stream(response).end(`data: ${JSON.stringify({ choices: [], usage: counted })}\n\n${DONE}`);
    });
    expect(await probeServer(client(baseUrl), 'm', {})).toEqual({
      words: { tokensPerWord: 2, overhead: 20 },
      countsTokens: true,
    });
  });

  it('takes a word for a token where the server counts none, and tells why it does not answer', async () => {
    const baseUrl = await serve((response) => {
      stream(response).end(text('a') + DONE);
    });
    expect(await probeServer(client(baseUrl), 'm', {})).toEqual({ words: ONE_EACH, countsTokens: false });
    server?.close();
    const refusing = await serve((response) =>
      response.writeHead(401).end('{"error":{"code":"invalid_api_key"}}'),
    );
    expect((await probeServer(client(refusing), 'm', {})).fault).toBe('http_401 invalid_api_key');
  });
});
