import { createHash } from 'node:crypto';
import { PLAIN_TERMS, type TenantTerms } from '@kvcapsule/domain/admission';
import { afterEach, describe, expect, it } from 'vitest';
import type { TenantSettings } from '../settings.js';
import { CoreWorker } from '../testing/core-worker.js';
import { Harness } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

const KEYS = { search: 'sk-search-1', batch: 'sk-batch-1', default: 'sk-default-1' };
type Name = keyof typeof KEYS;

let router: Harness;
afterEach(() => router.stop());

const tenant = (name: Name, terms: Partial<TenantTerms> = {}): TenantSettings => ({
  ...{ ...PLAIN_TERMS, ...terms, name },
  keyHashes: name === 'default' ? [] : [createHash('sha256').update(KEYS[name]).digest()],
});

async function start(...tenants: TenantSettings[]): Promise<void> {
  router = await new Harness().start({ tenants, apiKeys: [KEYS.default], queueEntries: 50 });
}

function ask(name: Name, content: unknown = 'abc', more: object = {}): Promise<Response> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${KEYS[name]}` };
  return router.chat(content, more, { headers });
}

async function errorOf(response: Response): Promise<unknown> {
  return ((await response.json()) as { error: unknown }).error;
}

describe('a tenant', () => {
  it('is known by its keys, and nobody by none', async () => {
    await start(tenant('search'), tenant('batch'));
    for (const name of ['search', 'batch', 'default'] as const) expect((await ask(name)).status).toBe(200);
    expect((await router.chat()).status).toBe(401);
    expect(router.worker.received.map(({ tenant }) => tenant)).toEqual(['search', 'batch', 'default']);
  });

  it('has no lower and no higher priority than it was granted', async () => {
    await start(
      tenant('search', { priority: { min: -1, max: 2 } }),
      tenant('default', { priority: { min: 0, max: 0 } }),
    );
    for (const priority of [-5, 1, 9]) await ask('search', 'abc', { priority });
    await ask('default', 'abc', { priority: -5 });
    expect(router.worker.received.map(({ priority }) => priority)).toEqual([-1, 1, 2, 0]);
  });

  it('finds nothing of what another one sent, text or picture, with whatever salt', async () => {
    await start(tenant('search'), tenant('batch'));
    const core = new CoreWorker();
    router.worker.script = core.script;
    router.ports.workers = [workerRecord('w0', router.worker.address, core.record)];
    const content = [
      { type: 'text', text: 'whose picture is this?' },
      { type: 'image_url', image_url: { url: 'data:picture' } },
    ];
    const found: boolean[] = [];
    const contents: string[] = [];
    for (const name of ['search', 'batch', 'search', 'batch'] as const)
      for (const salt of [{}, { cache_salt: 'search' }]) {
        const response = await ask(name, content, {
          ...salt,
          max_tokens: 4,
          temperature: 0,
          ignore_eos: true,
        });
        const body = (await response.json()) as {
          choices: [{ message: { content: string } }];
          usage: { prompt_tokens_details: { cached_tokens: number } };
        };
        found.push(body.usage.prompt_tokens_details.cached_tokens > 0);
        contents.push(body.choices[0].message.content);
      }
    expect(found).toEqual([false, false, false, false, true, true, true, true]);
    expect(new Set(contents).size).toBe(1);
  });

  it('above its cap on tokens is told when to come again, and others are served', async () => {
    const caps = { ...PLAIN_TERMS.caps, tokensPerMinute: 40 };
    await start(tenant('search', { caps }), tenant('batch'));
    expect((await ask('search', 'x'.repeat(30), { max_tokens: 5 })).status).toBe(200);
    const refused = await ask('search', 'x'.repeat(30), { max_tokens: 5 });
    expect(refused.status).toBe(429);
    // 35 less what is left of 40, at 40 a minute
    const seconds = Number(refused.headers.get('retry-after'));
    expect(seconds).toBeGreaterThan(20);
    expect(seconds).toBeLessThanOrEqual(53);
    expect(await errorOf(refused)).toEqual({
      message: 'Rate limit reached for tokens per minute.',
      ...{ type: 'rate_limit_error', param: null, code: 'rate_limit_exceeded' },
    });
    expect((await ask('batch', 'x'.repeat(30), { max_tokens: 5 })).status).toBe(200);
  });

  it('is counted by name in metrics, when it waits and when it is refused', async () => {
    await start(tenant('search', { caps: { ...PLAIN_TERMS.caps, tokensPerMinute: 40 } }));
    for (const name of ['search', 'search', 'default'] as const)
      await ask(name, 'x'.repeat(30), { max_tokens: 9 });
    const text = await (await fetch(`${router.url}/metrics`)).text();
    expect(text).toContain('kvcapsule_router_refusals_total{tenant="search",reason="cap_tokens"} 1');
    expect(text).toContain('kvcapsule_router_queue_wait_seconds_count{tenant="search"} 1');
    expect(text).toContain('kvcapsule_router_queue_wait_seconds_count{tenant="default"} 1');
    expect(text).toContain('kvcapsule_router_queue_requests{tenant="search"} 0');
    expect(text).toContain('kvcapsule_router_queue_bytes 0');
  });
});
