import { connect, type Socket } from 'node:net';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { ChatCompletion, ChatCompletionChunk } from '@kvcapsule/contracts/openai';
import { FinishReason } from '@kvcapsule/contracts/worker';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { delta, failed, finished, type Script, started } from '../../testing/fake-worker.js';
import { Harness, until } from '../../testing/harness.js';

let router: Harness;
const sockets: Socket[] = [];
beforeEach(() => {
  sockets.length = 0;
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await router.stop();
});

/** A client that reads nothing until it is told to. */
function ask(body: object): Socket {
  const json = JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: 'abc' }], ...body });
  const socket = connect(Number(new URL(router.url).port), '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => undefined).pause();
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\nconnection: close\r\n\r\n${json}`,
  );
  return socket;
}

const textOf = async (socket: Socket) => {
  const parts: Buffer[] = [];
  for await (const data of socket) parts.push(data as Buffer);
  return Buffer.concat(parts).toString();
};

/** More than the buffers of two sockets hold. */
const FLOOD = 'x'.repeat(20 * 1024 * 1024);

/** A text that is one token. */
const long = (text: string): ReturnType<typeof delta> => ({
  $case: 'delta',
  value: { text, tokenIds: [1], logprobs: [] },
});

/** Fills the socket with its first text, then goes on. */
const flood =
  (more: readonly string[]): Script =>
  async (request, say, signal) => {
    say(started(), long(FLOOD));
    for (const text of more) {
      if (signal.aborted) break;
      say(delta(text));
      await setImmediate();
    }
    say(finished(request, 9, signal.aborted ? 3 : 1));
  };

const codes = async () => (await (await fetch(`${router.url}/metrics`)).text()).match(/requests_total\{.*/g);

const NO_IMAGES = { imageTokens: 0, encodedTokens: 0 };

describe('how much of the prompt is computed', () => {
  const slow: Script = async (request, say) => {
    const { requestId } = request;
    router.worker.report({ requestId, computedTokens: 0, promptTokens: 9, imageTokens: 8, encodedTokens: 4 });
    say(started(9));
    router.worker.report({ requestId, computedTokens: 3, promptTokens: 9, ...NO_IMAGES });
    router.worker.report({ requestId, computedTokens: 6, promptTokens: 9, ...NO_IMAGES });
    await sleep(50);
    say(delta('x'));
    router.worker.report({ requestId, computedTokens: 9, promptTokens: 9, ...NO_IMAGES });
    say(finished(request, 1));
  };
  const bodyOf = async (body: object) => {
    router = await new Harness().start();
    router.worker.script = slow;
    const socket = ask(body);
    socket.resume();
    return textOf(socket);
  };

  it('is told in comments before the first text, to who asks', async () => {
    const text = await bodyOf({ stream: true, stream_options: { include_prefill_progress: true } });
    expect(text.match(/^: .*$/gm)).toEqual([': encode 4/8', ': prefill 3/9', ': prefill 6/9']);
    expect(text.indexOf(': prefill 6/9')).toBeLessThan(text.indexOf('data: '));
    expect(text).toContain('data: [DONE]');
  });

  it.each([{ stream: true }, { stream: false }])('is not told to others: %j', async (body) => {
    expect(await bodyOf(body)).not.toContain('prefill');
  });

  it('costs no answer where another worker begins anew', async () => {
    router = await new Harness().start({}, 2);
    const [first, second] = router.workers;
    if (!first || !second) throw new Error('two workers are wanted');
    let isFirst = true;
    for (const worker of [first, second])
      worker.script = async (request, say) => {
        const { requestId } = request;
        say(started(9));
        worker.report({ requestId, computedTokens: 3, promptTokens: 9, ...NO_IMAGES });
        await sleep(50);
        if (isFirst) {
          isFirst = false;
          say(failed('WORKER_LOST', 'gone'));
        } else say(delta('x'), finished(request, 1));
      };
    const text = await textOf(
      ask({ stream: true, stream_options: { include_prefill_progress: true } }).resume(),
    );
    expect(text.match(/^: prefill 3\/9$/gm)).toHaveLength(2);
    expect(text).toContain('"content":"x"');
  });
});

describe('an answer that the pool cut short', () => {
  it.each([{ stream: true }, { stream: false }])('says so beside its finish reason: %j', async (body) => {
    router = await new Harness().start();
    router.worker.script = (request, say) => {
      const end = finished(request, 1, FinishReason.FINISH_REASON_LENGTH);
      say(started(), delta('x'), { ...end, value: { ...end.value, poolExhausted: true } });
    };
    const text = await textOf(ask(body).resume());
    expect(text).toContain('"finish_reason":"length","finish_details":{"type":"kv_capacity"}');
    const event = /^(?:data: )?(\{.*"finish_details".*\})$/m.exec(text)?.[1] ?? '';
    const schema = body.stream ? ChatCompletionChunk : ChatCompletion;
    expect(() => schema.parse(JSON.parse(event))).not.toThrow();
  });
});

describe('a client that reads slowly', () => {
  it('gets everything when it goes on before the window is full', async () => {
    router = await new Harness().start({ windowBytes: 1024 * 1024 * 1024 });
    router.worker.script = flood(['b', 'c', 'd']);
    const socket = ask({ stream: true });
    await until(() => router.worker.received.length === 1 && router.worker.running === 0);
    const text = await textOf(socket);
    expect(text.length).toBeGreaterThan(FLOOD.length);
    expect(text.match(/"content":"[^"]{1,9}"/g)?.join()).toBe('"content":"b","content":"c","content":"d"');
    expect(text).toContain('data: [DONE]');
  }, 60_000);

  it('is cut off when more waits than the window holds, and its pages are freed', async () => {
    router = await new Harness().start({ windowBytes: 1024 * 1024 });
    router.worker.script = async (request, say, signal) => {
      say(started(), delta('first'));
      while (!signal.aborted) {
        say(long('x'.repeat(256 * 1024)));
        await setImmediate();
      }
      say(finished(request, 9, 3));
    };
    const socket = ask({ stream: true });
    await until(() => router.worker.aborted.length === 1);
    await until(() => router.ports.leases.size === 0 && router.worker.running === 0);
    expect(await codes()).toEqual([expect.stringContaining('client_too_slow') as string]);
    expect(await textOf(socket)).not.toContain('[DONE]');
  }, 60_000);

  it('is cut off when it takes nothing for too long', async () => {
    router = await new Harness().start({ stallMs: 300, windowBytes: 1024 * 1024 * 1024 });
    router.worker.script = async (request, say, signal) => {
      say(started(), long(FLOOD));
      while (!signal.aborted) await sleep(5);
      say(finished(request, 9, 3));
    };
    ask({ stream: true });
    await until(() => router.worker.aborted.length === 1);
    await until(() => router.ports.leases.size === 0);
    expect(await codes()).toEqual([expect.stringContaining('client_too_slow') as string]);
  }, 60_000);

  it('does not keep a whole answer in memory for ever either', async () => {
    router = await new Harness().start({ stallMs: 300, windowBytes: 1024 * 1024 * 1024 });
    router.worker.script = flood([]);
    const socket = ask({});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await until(() => router.worker.received.length === 1 && router.worker.running === 0);
    await until(() => router.inflight.size === 0);
    socket.resume();
    await closed;
    expect(socket.bytesRead).toBeLessThan(FLOOD.length);
  }, 60_000);

  it.each([
    [
      'hears comments of a stream that is silent',
      true,
      /^HTTP\/1\.1 200[^]*\n:\n\n[^]*data: [^]*\n:\n\n[^]*\[DONE\]/,
    ],
    [
      'hears nothing of a whole answer before it is there',
      false,
      /^HTTP\/1\.1 200[^]*content-length[^]*\r\n\r\n\{/,
    ],
  ])('%s', async (_case, stream, told) => {
    router = await new Harness().start({ keepAliveMs: 50 });
    router.worker.script = async (request, say) => {
      await sleep(200);
      say(started(), delta('a'));
      await sleep(200);
      say(delta('b'), finished(request, 2));
    };
    expect(await textOf(ask({ stream }))).toMatch(told);
  });

  it('is left alone while the worker says nothing', async () => {
    router = await new Harness().start({ stallMs: 100 });
    router.worker.script = async (request, say) => {
      say(started(), delta('a'));
      await sleep(500);
      say(delta('b'), finished(request, 2));
    };
    expect(await textOf(ask({ stream: true }))).toContain('[DONE]');
  });
});

describe('a frame', () => {
  it('leaves in one write, however much it brings', async () => {
    router = await new Harness().start();
    router.worker.script = async (request, say) => {
      say(started(), delta('a'), delta('b'), delta('c'));
      await sleep(50);
      say(delta('d'), finished(request, 4, 1, 'e'));
    };
    const chunks = (await textOf(ask({ stream: true }))).match(/\r\n[0-9a-f]+\r\ndata/g);
    expect(chunks).toHaveLength(2);
  });

  it('that ends in an error before any text has left is a status', async () => {
    router = await new Harness().start();
    router.worker.script = (_request, say) => say(started(), delta(''), failed('ENGINE_FAILED', 'broke'));
    const response = await router.chat('abc', { stream: true });
    expect([response.status, response.headers.get('content-type')]).toEqual([
      500,
      'application/json; charset=utf-8',
    ]);
  });
});
