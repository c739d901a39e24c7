import { Validator } from '@seriousme/openapi-schema-validator';
import { afterEach, describe, expect, it } from 'vitest';
import { Harness, logs, modelSettings } from './testing/harness.js';

let router: Harness;
afterEach(() => router.stop());

const get = (path: string, headers: Record<string, string> = {}) =>
  fetch(`${router.url}${path}`, { headers });

describe('keys', () => {
  const key = 'sk-0123456789';
  it('guard everything under /v1, and nothing else', async () => {
    router = await new Harness().start({ apiKeys: ['another-key', key] });
    const statuses = async (headers: Record<string, string>) =>
      Promise.all(
        ['/v1/models', '/v1/models/demo', '/%76%31/models'].map(async (p) => (await get(p, headers)).status),
      );
    expect(await statuses({})).toEqual([401, 401, 401]);
    expect(await statuses({ authorization: `Bearer ${key}x` })).toEqual([401, 401, 401]);
    expect(await statuses({ authorization: `Bearer ${key}` })).toEqual([200, 200, 200]);
    for (const path of ['/', '/health', '/health/live', '/health/ready', '/metrics', '/docs']) {
      expect((await get(path)).status).toBe(200);
    }
  });

  it('are asked for before the body is read', async () => {
    router = await new Harness().start({ apiKeys: [key] });
    const response = await router.post('{"broken');
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    expect(await response.json()).toMatchObject({
      error: { code: 'invalid_api_key', type: 'authentication_error' },
    });
  });
});

describe('other origins', () => {
  const headers = { origin: 'https://a.example', 'access-control-request-method': 'POST' };
  const preflight = () => fetch(`${router.url}/v1/chat/completions`, { method: 'OPTIONS', headers });

  it('are not served unless they are named', async () => {
    router = await new Harness().start();
    expect((await preflight()).status).toBe(405);
    expect((await get('/v1/models', headers)).headers.get('access-control-allow-origin')).toBeNull();
  });

  it('are served where they are named, and see why they are refused', async () => {
    router = await new Harness().start({ corsOrigins: ['https://a.example'], apiKeys: ['key-number-1'] });
    const allowed = await preflight();
    expect([allowed.status, allowed.headers.get('access-control-allow-origin')]).toEqual([
      204,
      headers.origin,
    ]);
    expect(allowed.headers.get('access-control-allow-methods')).toContain('POST');
    const refused = await get('/v1/models', headers);
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([
      401,
      headers.origin,
    ]);
    expect((await get('/none', headers)).status).toBe(404);
    const other = await get('/v1/models', { ...headers, origin: 'https://b.example' });
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('operations', () => {
  it('lists the model', async () => {
    router = await new Harness().start();
    const extensions = { max_model_len: 64, kv_codecs: ['capsule', 'q8', 'raw'] };
    const model = { id: 'demo', object: 'model', owned_by: 'kvcapsule', ...extensions };
    expect(await (await get('/v1/models')).json()).toMatchObject({ object: 'list', data: [model] });
    expect(await (await get('/v1/models/demo')).json()).toMatchObject(model);
    const other = await get('/v1/models/other');
    expect([other.status, await other.json()]).toMatchObject([404, { error: { code: 'model_not_found' } }]);
  });

  it('counts what it does', async () => {
    router = await new Harness().start();
    await router.chat('abc');
    await (await router.chat('abcd', { stream: true })).text();
    await router.chat('abc', { n: 2 });
    const text = await (await get('/metrics')).text();
    expect(text).toContain('kvcapsule_router_requests_total{model="demo",status="200",code="ok"} 2');
    expect(text).toContain(
      'kvcapsule_router_requests_total{model="demo",status="400",code="unsupported_parameter"} 1',
    );
    expect(text).toContain('kvcapsule_router_tokens_total{model="demo",kind="completion"} 7');
    expect(text).toContain('kvcapsule_router_request_prompt_tokens_sum{model="demo"} 7');
    expect(text).toContain('kvcapsule_router_requests_finished_total{model="demo",reason="stop"} 2');
    expect(text).toContain('kvcapsule_router_time_per_output_token_seconds_count{model="demo"} 2');
    expect(text).toContain('kvcapsule_router_model_workers{model="demo"} 1');
    expect(text).toContain('kvcapsule_router_streams_stalled 0');
    expect(text).toContain('kvcapsule_router_time_to_first_token_seconds_count{model="demo"} 2');
    expect(text).toContain('kvcapsule_router_inter_token_latency_seconds_count{model="demo"} 5');
    expect(text).toContain('kvcapsule_router_requests_running 0');
    expect(text).toContain('kvcapsule_router_workers 1');
  });

  it('counts requests by the served model that they name, and all that name none as one', async () => {
    const models = [{ ...modelSettings('big', 'demo'), aliases: ['gpt'], isDefault: true }];
    router = await new Harness().start({ models });
    const messages = [{ role: 'user', content: 'abc' }];
    const bodies = [
      { model: 'gpt', messages },
      { messages },
      { model: 'gpt', messages, n: 2 },
      { messages, temperature: 'hot' },
      ...['unknown', 'a"\n} 1', 'x'.repeat(300), {}, ['big'], 1].map((model) => ({ model, messages })),
      'no JSON',
      '"big"',
    ];
    for (const body of bodies) await (await router.post(body)).text();
    const text = await (await get('/metrics')).text();
    expect(text.match(/^kvcapsule_router_requests_total.*/gm)?.sort()).toEqual([
      'kvcapsule_router_requests_total{model="big",status="200",code="ok"} 2',
      'kvcapsule_router_requests_total{model="big",status="400",code="invalid_request"} 1',
      'kvcapsule_router_requests_total{model="big",status="400",code="unsupported_parameter"} 1',
      'kvcapsule_router_requests_total{model="unknown",status="400",code="invalid_json"} 1',
      'kvcapsule_router_requests_total{model="unknown",status="400",code="invalid_request"} 4',
      'kvcapsule_router_requests_total{model="unknown",status="404",code="model_not_found"} 3',
    ]);
  });

  it('shows its documentation without another host', async () => {
    router = await new Harness().start();
    const page = await (await get('/docs')).text();
    const assets = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? '');
    expect(assets.length).toBeGreaterThan(2);
    for (const asset of assets) {
      expect(asset).not.toMatch(/^(https?:)?\/\//);
      const response = await fetch(new URL(asset, `${router.url}/docs`));
      expect([asset, response.status]).toEqual([asset, 200]);
    }
  });

  it('describes itself in a valid document', async () => {
    router = await new Harness().start();
    const document = (await (await get('/openapi.json')).json()) as Record<string, unknown>;
    const { valid, errors } = await new Validator().validate(document);
    expect([valid, errors]).toEqual([true, undefined]);
    const text = JSON.stringify(document);
    expect(text).toContain('max_completion_tokens');
    const refs = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1] ?? '');
    expect(refs.length).toBeGreaterThan(5);
    const target = (ref: string) =>
      ref
        .replace('#/', '')
        .split('/')
        .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], document);
    expect(refs.filter((ref) => target(ref) === undefined)).toEqual([]);
  });

  it('keeps a harmless request id and replaces another', async () => {
    router = await new Harness().start();
    expect((await get('/health/live', { 'x-request-id': 'abc-1' })).headers.get('x-request-id')).toBe(
      'abc-1',
    );
    expect((await get('/health/live', { 'x-request-id': 'a b{' })).headers.get('x-request-id')).toMatch(
      /^req-/,
    );
  });

  it('answers a path it cannot decode in the same shape', async () => {
    router = await new Harness().start();
    const response = await get('/v1/models/%ff');
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { code: 'invalid_request' } },
    ]);
    expect(response.headers.get('x-request-id')).toMatch(/^req-/);
  });

  it('logs nothing that a client wrote', async () => {
    router = await new Harness().start({ apiKeys: ['sk-very-secret'] });
    const headers = { 'content-type': 'application/json', authorization: 'Bearer sk-very-secret' };
    await router.chat('a private word', {}, { headers });
    await router.chat('a private word', { n: 2 }, { headers });
    await get('/v1/models?private', headers);
    const text = logs.join('');
    expect(text).toContain('request completed');
    expect(text).not.toMatch(/private|secret/);
  });
});

it('is degraded, and says why, while its store should not be used as it is', async () => {
  router = await new Harness().start();
  const ready = async () => (await get('/health/ready')).json();
  expect(await ready()).toEqual({ status: 'ready', reasons: [] });
  router.ports.storeFault = 'Redis removes keys';
  expect(await ready()).toEqual({ status: 'degraded', reasons: ['Redis removes keys'] });
  expect(await (await get('/health')).json()).toEqual(await ready());
  router.ports.storeFault = undefined;
  expect(await ready()).toMatchObject({ status: 'ready' });
});

describe('a port that is taken', () => {
  it('is one error of ours that says what to do, without a line of the framework', async () => {
    router = await new Harness().start();
    const other = new Harness();
    try {
      logs.length = 0;
      const { port } = new URL(router.url);
      await expect(other.start({ port: Number(port) })).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: `--host, --port: cannot listen on 127.0.0.1, port ${port} (EADDRINUSE): another process has it; end that one, or choose another port`,
      });
      expect(logs.filter((line) => line.includes('EADDRINUSE'))).toEqual([]);
    } finally {
      await other.stop();
    }
  });
});
