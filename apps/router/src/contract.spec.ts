import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { CoreWorker } from './testing/core-worker.js';
import { Harness, until } from './testing/harness.js';
import { workerRecord } from './testing/memory-ports.js';

interface Completion {
  readonly choices: readonly {
    readonly message: { readonly content: string };
    readonly finish_reason: string;
  }[];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly total_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
}

/** Nothing ends an answer but its length. */
const LONG = { ignore_eos: true, temperature: 0 };

const router = new Harness();
let core: CoreWorker;

beforeAll(async () => {
  await router.start();
});
afterAll(() => router.stop());
beforeEach(() => {
  core = new CoreWorker();
  router.worker.script = core.script;
  // a worker that reports more codecs than it serves, so that its own refusal is met
  const record = { ...core.record, codecs: ['raw', 'q8'] };
  router.ports.workers = [workerRecord('w0', router.worker.address, record)];
});

async function ask(content: unknown, more: object = {}): Promise<Completion> {
  const response = await router.chat(content, { ...LONG, ...more });
  const body = (await response.json()) as Completion;
  expect(response.status, JSON.stringify(body)).toBe(200);
  return body;
}

async function refusal(content: unknown, more: object = {}): Promise<{ status: number; code: string }> {
  const response = await router.chat(content, { ...LONG, ...more });
  const { error } = (await response.json()) as { error: { code: string } };
  return { status: response.status, code: error.code };
}

async function expectNothingLeft(): Promise<void> {
  const { serving } = core;
  await until(() => serving.running + serving.waiting === 0 && router.ports.leases.size === 0);
  expect(serving.scheduler.pool.freePages).toBe(serving.scheduler.pool.capacityPages);
  expect(serving.pictures.takenBytes).toBe(0);
}

describe('a router and a worker', () => {
  // a token a character, and a context of 64
  it.each([
    [62, undefined, 3],
    [63, undefined, 2],
    [64, undefined, 1],
    [64, 9, 1],
    [60, 9, 5],
    [60, 5, 5],
    [60, 4, 4],
  ])('give a prompt of %i and max_tokens %s an answer of %i tokens', async (prompt, maxTokens, answer) => {
    const { choices, usage } = await ask('x'.repeat(prompt), { max_tokens: maxTokens });
    expect(choices[0]?.finish_reason).toBe('length');
    expect(usage).toMatchObject({
      ...{ prompt_tokens: prompt, completion_tokens: answer, total_tokens: prompt + answer },
    });
    expect(choices[0]?.message.content).toHaveLength(2 * answer);
    await expectNothingLeft();
  });

  it('refuse a prompt of more than the context, and ask no worker for it', async () => {
    const asked = router.worker.received.length;
    expect(await refusal('x'.repeat(65))).toEqual({ status: 400, code: 'context_length_exceeded' });
    expect(router.worker.received).toHaveLength(asked);
  });

  it('serve pictures, and find them again', async () => {
    const content = [
      { type: 'text', text: 'see' },
      { type: 'image_url', image_url: { url: 'data:picture' } },
    ];
    const [cold, warm] = [await ask(content, { max_tokens: 5 }), await ask(content, { max_tokens: 5 })];
    expect(warm.choices).toEqual(cold.choices);
    expect(cold.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(warm.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(0);
    await expectNothingLeft();
  });

  it('end before a stop string', async () => {
    const free = (await ask('abc', { max_tokens: 12 })).choices[0]?.message.content ?? '';
    const stop = free.slice(5, 10);
    const { choices, usage } = await ask('abc', { max_tokens: 12, stop: ['@@', stop] });
    expect(choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: free.slice(0, free.indexOf(stop)) },
    });
    expect(usage.completion_tokens).toBeLessThan(12);
    await expectNothingLeft();
  });

  it('say that a codec is not served, whoever finds so', async () => {
    const code = 'kv_codec_unavailable';
    expect(await refusal('abc', { kv_codec: 'q4' })).toEqual({ status: 400, code });
    const asked = router.worker.received.length;
    expect(await refusal('abc', { kv_codec: 'q8' })).toEqual({ status: 400, code });
    expect(router.worker.received).toHaveLength(asked + 1);
    await expectNothingLeft();
  });

  it('end an answer whose client has gone', async () => {
    const aborted = new AbortController();
    const response = await router.chat(
      'abc',
      { ...LONG, max_tokens: 60, stream: true },
      { signal: aborted.signal },
    );
    await response.body?.getReader().read();
    aborted.abort();
    await expectNothingLeft();
  });

  it('know a request by the id of its client', async () => {
    const headers = { 'content-type': 'application/json', 'x-request-id': 'mine-1' };
    const response = await router.chat('abc', { ...LONG, max_tokens: 2 }, { headers });
    expect(response.headers.get('x-request-id')).toBe('mine-1');
    await response.text();
    const unnamed = await router.chat('abc', { ...LONG, max_tokens: 2 });
    await unnamed.text();
    expect(core.reports.flatMap((report) => (report.kind === 'requestFinished' ? [report.ids] : []))).toEqual(
      ['mine-1', unnamed.headers.get('x-request-id')].map((clientRequestId, index) => ({
        requestId: router.worker.received.slice(-2)[index]?.requestId,
        clientRequestId,
      })),
    );
  });

  it('stream what they send whole', async () => {
    const whole = (await ask('stream', { max_tokens: 20 })).choices[0]?.message.content;
    const response = await router.chat('stream', { ...LONG, max_tokens: 20, stream: true });
    const chunks = (await response.text())
      .split('\n\n')
      .flatMap((line) => (line.startsWith('data: {') ? [line.slice('data: '.length)] : []))
      .map((line) => JSON.parse(line) as { choices: { delta: { content?: string } }[] });
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(whole);
    await expectNothingLeft();
  });
});
