import { PlacementExplanation, PlacementReceipt } from '@kvcapsule/contracts/openai';
import { afterEach, describe, expect, it } from 'vitest';
import { Harness } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

let router: Harness;
afterEach(() => router.stop());

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${router.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const explain = (body: unknown, headers = {}) => post('/v1/placement/explain', body, headers);
const chat = (more: object = {}) => ({
  model: 'demo',
  messages: [{ role: 'user', content: 'abc' }],
  ...more,
});
const explained = async (body: unknown = chat()) =>
  PlacementExplanation.parse(await (await explain(body)).json());

/** Two that take requests, and three that do not, each for a reason of its own. */
async function start(): Promise<void> {
  router = await new Harness().start({ placementWeights: { load: 2 } }, 2);
  const load = { state: 'ready', running: 0, waiting: 0, freePages: 160 } as const;
  const [first, second] = router.workers.map(({ address }) => address);
  router.ports.workers = [
    workerRecord('w0', first ?? '', { load: { ...load, running: 3 } }),
    workerRecord('w1', second ?? '', { epoch: 4 }),
    workerRecord('w2', 'a:1', { load: { ...load, state: 'draining' } }),
    workerRecord('w3', 'a:2', { load: { ...load, freePages: 1 } }),
    workerRecord('w4', 'a:3', { processorRevision: 'q' }),
  ];
  await router.fleet.refresh();
}

describe('an explanation of placement', () => {
  it('tells of every worker, in bytes, pages and tokens, and runs nothing', async () => {
    await start();
    const answer = await explained();
    expect(answer).toMatchObject({
      policy: 'cost-aware',
      weights: { prefix: 1, picture: 1, load: 2, affinity: 1, hardware: 1, 'last-copy': 1, pace: 1 },
      request: { prompt_tokens: 3, pictures: 0, picture_tokens: 0, max_tokens: 62, kv_codec: null },
      refusal: null,
    });
    expect(answer.candidates).toMatchObject([
      { worker: 'w0', running: 3, codec: 'capsule', free_pages: 160, capacity_pages: 160 },
      { worker: 'w1', epoch: 4, running: 0, pages: 8, page_bytes: 1_024, bytes: 8_192, held: null },
    ]);
    const [busy, idle] = answer.candidates;
    expect(busy?.costs['load']).toBeGreaterThan(500);
    expect(idle?.costs).toMatchObject({ prefix: 3, load: 1.6 });
    for (const { costs, total } of answer.candidates)
      expect(Object.values(costs).reduce((sum, cost) => sum + cost, 0)).toBeCloseTo(total, 1);
    const reasons = answer.rejected.map(({ worker, filter, may_pass }) => [worker, filter, may_pass]);
    expect(reasons.sort()).toEqual([
      ['w2', 'ready', false],
      ['w3', 'room', true],
      ['w4', 'processor', false],
    ]);
    expect(answer.picks).toMatchObject([{ worker: 'w1', epoch: 4, reason: 'load' }, { worker: 'w0' }]);
    expect(router.workers.map(({ received }) => received.length)).toEqual([0, 0]);
    expect([router.ports.leases.size, router.inflight.size]).toEqual([0, 0]);
  });

  it('counts pictures, by the codec that is named', async () => {
    await start();
    const content = [{ type: 'image_url', image_url: { url: 'data:x' } }];
    const answer = await explained(
      chat({ messages: [{ role: 'user', content }], kv_codec: 'q8', max_tokens: 5 }),
    );
    expect(answer.request).toMatchObject({ pictures: 1, picture_tokens: 4, max_tokens: 5, kv_codec: 'q8' });
    expect(answer.candidates[0]).toMatchObject({ codec: 'q8', costs: { picture: 16 } });
  });

  it('says with what a request would be refused', async () => {
    await start();
    router.ports.workers = router.ports.workers.map((record) => ({ ...record, processorRevision: 'q' }));
    await router.fleet.refresh();
    expect(await explained()).toMatchObject({ picks: [], refusal: { code: 'no_worker' } });
  });

  it.each([
    ['broken JSON', '{"broken', 400, 'invalid_json'],
    ['a field that is not known', chat({ nonsense: 1 }), 400, 'invalid_request'],
    ['another model', chat({ model: 'other' }), 404, 'model_not_found'],
    ['a codec that nobody serves', chat({ kv_codec: 'q3' }), 400, 'kv_codec_unavailable'],
    [
      'a prompt that is too long',
      chat({ messages: [{ role: 'user', content: 'x'.repeat(99) }] }),
      400,
      'context_length_exceeded',
    ],
    [
      'a broken picture',
      chat({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'bad:' } }] }] }),
      400,
      'image_invalid',
    ],
    [
      'a large body',
      chat({ messages: [{ role: 'user', content: 'x'.repeat(200_000) }] }),
      413,
      'request_too_large',
    ],
  ])('refuses %s as a chat completion does', async (_what, body, status, code) => {
    await start();
    for (const path of ['/v1/placement/explain', '/v1/chat/completions']) {
      const response = await post(path, body);
      expect([response.status, await response.json()]).toMatchObject([status, { error: { code } }]);
    }
    expect(router.inflight.size).toBe(0);
  });

  it('wants an admin’s key where keys are set, before it reads the body', async () => {
    router = await new Harness().start({ apiKeys: ['key-number-1'], adminApiKeys: ['key-number-2'] });
    const statusWith = async (key: string, body: unknown = chat()) => {
      const response = await explain(body, { authorization: `Bearer ${key}` });
      return [response.status, ((await response.json()) as { error?: { code: string } }).error?.code];
    };
    expect(await statusWith('key-number-1', '{"broken')).toEqual([403, 'permission_denied']);
    expect(await statusWith('key-number-2')).toEqual([200, undefined]);
    expect(await statusWith('key-number-3')).toEqual([401, 'invalid_api_key']);
    const headers = { authorization: 'Bearer key-number-2', 'content-type': 'application/json' };
    expect((await router.chat('abc', {}, { headers })).status).toBe(200);
  });
});

describe('receipts that operators look up', () => {
  const lookUp = async (id: string, key = '') => {
    const headers = { authorization: `Bearer ${key}` };
    const response = await fetch(`${router.url}/v1/placement/receipts/${id}`, { headers });
    return [response.status, await response.json()] as const;
  };
  const headers = {
    'content-type': 'application/json',
    'x-request-id': 'r-1',
    authorization: 'Bearer key-1',
  };

  it('name all workers that a request was given to', async () => {
    await start();
    router.workers[1]!.script = () => {
      router.workers[1]!.kill();
    };
    await (await router.chat('abc', {}, { headers })).text();
    const [status, body] = await lookUp('r-1');
    const { placements } = PlacementReceipt.parse(body);
    expect([status, ...placements.map(({ worker, epoch }) => [worker, epoch])]).toEqual([
      200,
      ['w1', 4],
      ['w0', 1],
    ]);
    const unknown = {
      error: { code: 'not_found', message: expect.stringContaining('each process') as string },
    };
    expect(await lookUp('r-2')).toMatchObject([404, unknown]);
    expect((await lookUp(`${'%2e%2e%2f'.repeat(3)}x`))[0]).toBe(404);
  });

  it('are found by ids as long as a client may choose them', async () => {
    await start();
    const id = 'r'.repeat(128);
    await (await router.chat('abc', {}, { headers: { ...headers, 'x-request-id': id } })).text();
    expect((await lookUp(id))[0]).toBe(200);
    expect((await lookUp(`${id}r`))[0]).toBe(404);
  });

  it('want an admin’s key where keys are set', async () => {
    router = await new Harness().start({ apiKeys: ['key-1'], adminApiKeys: ['key-2'] });
    await (await router.chat('abc', {}, { headers })).text();
    const statuses = await Promise.all(['', 'key-1', 'key-2'].map((key) => lookUp('r-1', key)));
    expect(statuses.map(([status]) => status)).toEqual([401, 403, 200]);
  });
});

describe('a receipt', () => {
  const asking = { headers: { 'content-type': 'application/json', 'x-kvcapsule-receipt': '1' } };
  const receiptOf = ({ headers }: Response) =>
    ['worker', 'worker-epoch', 'placement'].map((name) => headers.get(`x-kvcapsule-${name}`));

  it.each([false, true])('names worker, epoch and reason on request (stream: %s)', async (stream) => {
    await start();
    const response = await router.chat('abc', { stream }, asking);
    const [worker, epoch, placement] = receiptOf(response);
    expect([worker, epoch]).toEqual(['w1', '4']);
    expect(placement).toMatch(/^reason=load, prompt-tokens=3, held-tokens=0, pages=8, codec=capsule, cost=/);
    await response.text();
  });

  it('is not given to who does not ask', async () => {
    await start();
    const response = await router.chat(
      'abc',
      {},
      { headers: { ...asking.headers, 'x-kvcapsule-receipt': '0' } },
    );
    expect([response.status, ...receiptOf(response)]).toEqual([200, null, null, null]);
  });

  it('is the worker’s that answers after another one failed', async () => {
    await start();
    router.workers[1]!.script = () => {
      router.workers[1]!.kill();
    };
    const response = await router.chat('abc', {}, asking);
    expect([response.status, receiptOf(response)[0]]).toEqual([200, 'w0']);
  });

  it('is counted by its reason', async () => {
    await start();
    await router.chat();
    const metrics = await (await fetch(`${router.url}/metrics`)).text();
    expect(metrics).toContain('kvcapsule_router_placements_total{reason="load"} 1');
  });
});
